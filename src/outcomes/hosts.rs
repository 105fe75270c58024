//! Which hosts get no further event just now. A host that is slow or down must not take the slots of the others.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Monotonic;

/// Events under way to one host at once.
pub(super) const PER_HOST: usize = 4;
/// Longest pause after failures in a row; each event has its own, much longer waits besides.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Hosts(HashMap<String, Host>);

#[derive(Default)]
struct Host {
    under_way: usize,
    failures: u32,
    paused_until: Option<Monotonic>,
}

impl Hosts {
    /// Those that a claim leaves out at `now`.
    pub(super) fn left_out(&self, now: Monotonic) -> Vec<String> {
        let out = |host: &Host| host.under_way >= PER_HOST || host.paused_until.is_some_and(|until| now < until);
        self.0.iter().filter(|(_, host)| out(host)).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn began(&mut self, host: &str) {
        self.0.entry(host.to_owned()).or_default().under_way += 1;
    }

    /// `failed`: the host could not be reached or is overloaded, which is likely to go for its other events too.
    pub(super) fn ended(&mut self, name: &str, failed: bool, now: Monotonic) {
        let Some(host) = self.0.get_mut(name) else { return };
        host.under_way = host.under_way.saturating_sub(1);
        if failed {
            host.failures += 1;
            let pause = Duration::from_secs(1 << host.failures.min(6).saturating_sub(1)).min(LONGEST_PAUSE);
            host.paused_until = Some(now + pause);
        } else {
            host.failures = 0;
            host.paused_until = None;
        }
        if host.under_way == 0 && host.failures == 0 {
            self.0.remove(name);
        }
    }

    /// Forgets hosts that nothing was sent to for long after their pause.
    pub(super) fn forget_old(&mut self, now: Monotonic) {
        self.0.retain(|_, host| {
            host.under_way > 0 || host.paused_until.is_some_and(|until| now < until + LONGEST_PAUSE * 20)
        });
    }
}

/// `host:port` as the claim's SQL cuts it out of an address.
pub(super) fn host_of(address: &str) -> String {
    let after = address.split_once("://").map_or(address, |(_, rest)| rest);
    after.split(['/', '?', '#']).next().unwrap_or(after).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_busy_host_is_left_out_until_one_of_its_events_ends() {
        let (mut hosts, now) = (Hosts::default(), clock::monotonic());
        (0..PER_HOST).for_each(|_| hosts.began("a"));
        hosts.began("b");
        assert_eq!(hosts.left_out(now), ["a"]);
        hosts.ended("a", false, now);
        assert!(hosts.left_out(now).is_empty());
    }

    #[test]
    fn a_failing_host_pauses_longer_and_longer_and_one_success_ends_it() {
        let (mut hosts, now) = (Hosts::default(), clock::monotonic());
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            hosts.began("a");
            hosts.ended("a", true, now);
            assert_eq!(hosts.left_out(now + Duration::from_secs(pause) - Duration::from_millis(1)), ["a"]);
            assert!(hosts.left_out(now + Duration::from_secs(pause)).is_empty());
        }
        hosts.began("a");
        hosts.ended("a", false, now);
        assert!(hosts.0.is_empty());
    }

    #[test]
    fn the_host_is_cut_out_of_an_address() {
        assert_eq!(host_of("https://example.com:8443/a/b?c=d"), "example.com:8443");
        assert_eq!(host_of("https://example.com"), "example.com");
        assert_eq!(host_of("outcomes.fifo"), "outcomes.fifo");
    }
}
