//! The same checks against moto's server, an independent SQS. `make test` installs it under `.voxd/venv-moto`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use super::run_all;
use super::target::Target;

/// Where moto 5.2.5 does not do what AWS documents, each with the reason.
const DEVIATIONS: &[(&str, &str)] = &[
    ("setting_an_unknown_attribute_is_refused", "moto takes any attribute name"),
    ("attribute_values_out_of_range_are_refused", "moto checks no ranges when attributes are set"),
    ("a_deleted_queues_name_stays_taken_for_a_minute", "moto has no QueueDeletedRecently"),
    ("the_trace_header_has_its_md5", "moto leaves MD5OfMessageSystemAttributes out"),
    ("attributes_count_towards_the_size", "moto counts the body alone"),
    ("characters_outside_xml_are_refused", "moto looks at no characters"),
    (
        "an_abandoned_long_poll_takes_nothing",
        "moto goes on polling for a client that has left, and gives it the message",
    ),
    ("an_old_receipt_handle_deletes_nothing", "moto takes any handle the message ever had"),
    ("changing_what_is_not_in_flight_is_refused", "moto accepts it"),
    ("a_repeat_is_known_after_the_deletion", "moto forgets a deduplication id with its message"),
    ("sequence_numbers_rise", "moto draws them at random"),
    ("a_repeat_is_told_the_first_ones_numbers", "moto makes up new ones for the message it drops"),
    ("the_source_of_a_dead_letter_is_named", "moto has no DeadLetterQueueSourceArn"),
    ("a_bad_redrive_policy_is_refused", "moto answers 500 without an error code"),
    ("a_move_task_brings_dead_letters_back", "moto has no StartMessageMoveTask"),
    ("repeated_entry_ids_of_a_delete_are_refused", "moto compares receipt handles, not ids"),
    ("an_empty_body_is_refused", "moto takes it"),
    ("bad_message_attributes_are_refused", "moto takes an empty value"),
    ("an_unknown_operation_is_refused", "moto answers 500"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moto_agrees_but_for_its_known_deviations() {
    let port = free_port();
    let mut server = tokio::process::Command::new(python())
        .args(["-m", "moto.server", "--host", "127.0.0.1", "--port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("moto starts");
    let target = Target::new(format!("http://127.0.0.1:{port}"));
    wait_until_it_answers(&target, &mut server).await;
    let wrong = run_all(&target, DEVIATIONS).await;
    server.kill().await.expect("moto stops");
    assert!(wrong.is_empty(), "{} checks are not as declared:\n{}", wrong.len(), wrong.join("\n"));
}

/// moto's Python, which has boto3 too.
pub fn python() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".voxd/venv-moto/bin/python");
    assert!(
        path.exists(),
        "moto is not installed in {}: run the tests by `make test`, which sets it up from tests/requirements-moto.txt",
        path.display()
    );
    path
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("has an address").port()
}

async fn wait_until_it_answers(target: &Target, server: &mut tokio::process::Child) {
    for _ in 0..600 {
        if target.client.list_queues().send().await.is_ok() {
            return;
        }
        assert!(server.try_wait().expect("can be asked").is_none(), "moto ended at its start");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("moto did not answer within a minute");
}
