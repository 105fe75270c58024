//! What an SQS is, as one suite of checks that runs against our local SQS and against moto's server, so that our idea of
//! it is checked by someone else's. Where moto is known to deviate, the check is named with the reason, and must fail
//! there: a deviation that is gone is noticed.

mod calls;
mod dead_letters;
mod fifo;
mod messages;
mod moto;
mod ours;
mod queues;
mod receiving;
mod refusals;
mod target;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use target::Target;

/// One check by its name.
struct Check {
    name: &'static str,
    run: for<'a> fn(&'a Target) -> BoxFuture<'a, ()>,
}

macro_rules! checks {
    ($($room:ident: $($name:ident),* $(,)?;)*) => {
        const CHECKS: &[Check] = &[$($(
            Check { name: stringify!($name), run: |target| Box::pin($room::$name(target)) },
        )*)*];

        /// Each check against our own server, as a test of its own.
        mod on_ours {
            $($(
                #[tokio::test]
                async fn $name() {
                    let (server, target) = super::ours::start().await;
                    super::$room::$name(&target).await;
                    server.shutdown().await.expect("stops");
                }
            )*)*
        }
    };
}

checks! {
    queues:
        creating_again_finds_the_queue_and_refuses_other_attributes, a_missing_queue_is_said_to_be_missing,
        queues_are_listed_by_prefix_in_pages, attributes_have_defaults_and_can_be_set, setting_an_unknown_attribute_is_refused,
        asking_for_an_unknown_attribute_is_refused,
        attribute_values_out_of_range_are_refused,
        bad_names_are_refused, a_fifo_queue_needs_its_suffix, tags_are_kept, a_purge_empties_the_queue,
        a_second_purge_within_a_minute_is_refused, a_deleted_queues_name_stays_taken_for_a_minute;
    messages:
        a_message_comes_back_as_it_was_sent, message_attributes_come_back_as_asked_with_their_md5,
        md5_of_attributes_is_that_of_the_documented_algorithm, system_attributes_come_only_when_asked_for,
        the_trace_header_travels, the_trace_header_has_its_md5, a_standard_queue_keeps_the_group_id, a_message_of_one_mebibyte_passes_and_one_byte_more_does_not,
        attributes_count_towards_the_size, a_batch_may_not_pass_one_mebibyte, characters_outside_xml_are_refused,
        a_batch_takes_ten_and_answers_each, one_bad_entry_does_not_spoil_its_batch, a_delay_holds_a_message_back,
        counts_are_told_apart;
    receiving:
        a_long_poll_wakes_when_a_message_comes, an_empty_long_poll_lasts_its_time, an_abandoned_long_poll_takes_nothing,
        a_message_comes_back_when_its_visibility_ends, an_old_receipt_handle_deletes_nothing,
        the_last_receipt_handle_deletes_after_its_time, deleting_twice_succeeds, visibility_zero_gives_the_message_back,
        visibility_can_be_extended, changing_what_is_not_in_flight_is_refused,
        visibility_past_twelve_hours_is_refused, a_batch_changes_visibility, the_calls_wait_time_beats_the_queues;
    fifo:
        groups_come_in_order_and_locked, a_repeat_is_taken_once,
        a_repeat_is_known_after_the_deletion, a_repeat_is_told_the_first_ones_numbers, the_body_can_be_the_deduplication_id,
        sequence_numbers_rise, a_fifo_message_needs_a_group_and_a_deduplication_id;
    dead_letters:
        a_message_received_too_often_is_moved, the_source_of_a_dead_letter_is_named, sources_are_listed,
        a_bad_redrive_policy_is_refused, a_move_task_brings_dead_letters_back;
    refusals:
        a_made_up_receipt_handle_is_refused, numbers_out_of_range_are_refused, an_empty_batch_is_refused,
        eleven_entries_are_refused, repeated_entry_ids_are_refused,
        repeated_entry_ids_of_a_delete_are_refused, bad_entry_ids_are_refused,
        an_empty_body_is_refused, bad_message_attributes_are_refused, errors_have_their_type_and_query_code,
        an_unknown_operation_is_refused;
}

/// Runs all checks against a target at once, each on queues of its own. Returns what is not as declared.
async fn run_all(target: &Target, deviations: &[(&str, &str)]) -> Vec<String> {
    for (name, _) in deviations {
        assert!(CHECKS.iter().any(|check| check.name == *name), "no such check: {name}");
    }
    let runs = CHECKS.iter().map(|check| async move {
        let passed = AssertUnwindSafe((check.run)(target)).catch_unwind().await;
        let deviation = deviations.iter().find(|(name, _)| *name == check.name);
        match (passed, deviation) {
            (Ok(()), None) | (Err(_), Some(_)) => None,
            (Ok(()), Some((name, reason))) => {
                Some(format!("{name}: listed as a deviation ({reason}), but it holds now: take it off the list"))
            }
            (Err(panic), None) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                Some(format!("{}: {}", check.name, text.unwrap_or_default()))
            }
        }
    });
    futures_util::future::join_all(runs).await.into_iter().flatten().collect()
}
