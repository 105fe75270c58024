//! The process's own figures, under the names that all Prometheus client libraries use.
//!
//! Read from `/proc` at each scrape: see `proc_pid_stat(5)`. Elsewhere than on Linux they are left out.

use std::fmt::Write as _;

/// `USER_HZ`: the kernel shows times to user space in this unit on every architecture Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, PartialEq)]
struct Figures {
    cpu_seconds: f64,
    threads: u64,
    start_ticks: f64,
}

pub(super) fn render(text: &mut String) {
    let stat = std::fs::read_to_string("/proc/self/stat").ok();
    if let Some(figures) = stat.as_deref().and_then(parse_stat) {
        line(text, "process_cpu_seconds_total", "counter", "CPU time, user and system.", figures.cpu_seconds);
        line(text, "process_threads", "gauge", "Threads of the process.", figures.threads as f64);
        if let Some(boot) = std::fs::read_to_string("/proc/stat").ok().as_deref().and_then(parse_boot_time) {
            let started = boot + figures.start_ticks / TICKS_PER_SECOND;
            line(text, "process_start_time_seconds", "gauge", "Start, in seconds since the epoch.", started);
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").ok();
    if let Some(bytes) = status.as_deref().and_then(parse_resident) {
        line(text, "process_resident_memory_bytes", "gauge", "Memory in RAM.", bytes);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        line(text, "process_open_fds", "gauge", "Open file descriptors.", entries.count() as f64);
    }
}

fn line(text: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

fn parse_stat(stat: &str) -> Option<Figures> {
    // The second field is the program's name in brackets and may hold anything, so count from the last bracket.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |n: usize| fields.get(n - 3)?.parse::<f64>().ok();
    Some(Figures {
        cpu_seconds: (number(14)? + number(15)?) / TICKS_PER_SECOND,
        threads: number(20)? as u64,
        start_ticks: number(22)?,
    })
}

fn parse_boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

fn parse_resident(status: &str) -> Option<f64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"))?;
    Some(kilobytes.trim().parse::<f64>().ok()? * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 4242 1000 200 18446744073709551615";
        assert_eq!(parse_stat(stat), Some(Figures { cpu_seconds: 3.0, threads: 9, start_ticks: 4242.0 }));
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152.0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_all_figures() {
        let mut text = String::new();
        render(&mut text);
        for name in ["cpu_seconds_total", "threads", "start_time_seconds", "resident_memory_bytes", "open_fds"] {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{name} in:\n{text}");
        }
    }
}
