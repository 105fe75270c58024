//! systemd's notify protocol: ready, alive, stopping. Does nothing where systemd did not ask for it.

use sd_notify::NotifyState;

use crate::clock;
use crate::lifecycle::Lifecycle;

/// Says that the daemon is up, and feeds the watchdog from the runtime that does the work: one that hangs stops feeding it.
pub(super) fn ready(lifecycle: &Lifecycle) {
    notify(&[NotifyState::Ready]);
    let watchdog = sd_notify::watchdog_enabled();
    let stopping = lifecycle.clone();
    lifecycle.spawn(async move {
        match watchdog {
            Some(limit) => loop {
                notify(&[NotifyState::Watchdog]);
                tokio::select! {
                    () = clock::sleep(limit / 3) => {}
                    () = stopping.stopping() => break,
                }
            },
            None => stopping.stopping().await,
        }
        notify(&[NotifyState::Stopping]);
    });
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
