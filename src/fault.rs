//! Places where a test lets the process die or stop. Compiled into debug builds only.
//!
//! `VOXD_TEST_FAULT=POINT=crash` kills the process (as `kill -9` would) when it comes to the point; `POINT=stop` stops it
//! (`SIGSTOP`) until somebody continues it. `POINT:3=crash` waits for the third time.

/// Steps of the send protocol, in their order.
pub const POINTS: &[&str] = &[
    "before_accept",
    "after_accept",
    "before_intent",
    "after_intent",
    "before_send",
    "after_answer",
    "before_record",
    "after_record",
    "before_delete",
];

#[cfg(debug_assertions)]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Armed {
        point: String,
        crash: bool,
        left: AtomicU32,
    }
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("VOXD_TEST_FAULT").ok()?;
        let (place, action) = text.split_once('=')?;
        let (point, times) = place.split_once(':').unwrap_or((place, "1"));
        Some(Armed { point: point.to_owned(), crash: action == "crash", left: AtomicU32::new(times.parse().ok()?) })
    });
    let Some(armed) = armed.as_ref().filter(|armed| armed.point == name) else { return };
    let reached = armed.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1);
    if reached {
        let signal = if armed.crash { rustix::process::Signal::KILL } else { rustix::process::Signal::STOP };
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
        // The signal is delivered on the way out of the system call or very soon after it.
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_: &str) {}
