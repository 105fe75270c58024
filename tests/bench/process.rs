//! What processes cost, from `/proc`.

use std::collections::BTreeMap;

/// Linux counts processor time in hundredths of a second, whatever the kernel's own tick (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds, user and system, of a process, of its living children, and of those it has waited for.
pub fn cpu_seconds(pid: i32) -> f64 {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some(fields) = stat(child) {
            children.entry(fields[1] as i32).or_default().push(child);
        }
    }
    let mut open = vec![pid];
    let mut ticks = 0;
    while let Some(pid) = open.pop() {
        if let Some(fields) = stat(pid) {
            ticks += fields[11] + fields[12] + fields[13] + fields[14];
        }
        open.extend(children.remove(&pid).unwrap_or_default());
    }
    ticks as f64 / TICKS_PER_SECOND
}

/// The fields of `/proc/PID/stat` after the program's name, from the state (as 0) on; see `proc(5)`, which counts from 3.
fn stat(pid: i32) -> Option<Vec<i64>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

/// Resident memory now and at its highest, in MB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub now: f64,
    pub peak: f64,
}

pub fn memory(pid: i32) -> Memory {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let read = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    Memory { now: read("VmRSS:").unwrap_or(0.0) / 1024.0, peak: read("VmHWM:").unwrap_or(0.0) / 1024.0 }
}
