use super::*;
use crate::config::Environment;

fn settings() -> config::Outcomes {
    Config::load(None, &Environment::default()).unwrap().outcomes
}

#[test]
fn waits_grow_over_hours_until_the_event_is_given_up() {
    let settings = settings();
    let (mut age, mut attempts) = (Duration::ZERO, 1);
    let mut waits = Vec::new();
    while let Some(wait) = next_try(&settings, attempts, age, None, 0.5) {
        waits.push(wait);
        age += wait;
        attempts += 1;
    }
    assert_eq!(waits[..3], [5, 10, 20].map(Duration::from_secs));
    assert!(waits.iter().all(|wait| *wait <= settings.retry_max));
    assert_eq!(age, settings.give_up_after, "the last try falls on the end");
}

#[test]
fn retry_after_is_honoured_up_to_the_longest_wait() {
    let settings = settings();
    let wait = |seconds| next_try(&settings, 1, Duration::ZERO, Some(Duration::from_secs(seconds)), 0.5);
    assert_eq!(wait(120), Some(Duration::from_secs(120)));
    assert_eq!(wait(1), Some(Duration::from_secs(5)), "never sooner than the own wait");
    assert_eq!(wait(u64::MAX), Some(settings.retry_max));
}
