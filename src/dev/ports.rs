//! Listening on a port of this machine, or saying who has it.

use std::io::ErrorKind;

use tokio::net::TcpListener;

/// Listens on 127.0.0.1. Port 0 is any free one.
///
/// # Errors
/// A text for people: which port, who has it, and which option chooses another.
pub async fn listen(port: u16, option: &str) -> Result<TcpListener, String> {
    TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            let owner = owner(port).map(|owner| format!(" by {owner}")).unwrap_or_default();
            format!("port {port} is in use{owner}; stop it, or choose another with {option} (0: any)")
        }
        _ => format!("port {port} ({option}): {error}"),
    })
}

/// Listeners for so many servers, on ports one after another from `first`; 0: each on any free one.
///
/// # Errors
/// As [`listen`].
pub async fn listen_from(first: u16, count: usize, option: &str) -> Result<Vec<TcpListener>, String> {
    let mut listeners = Vec::with_capacity(count);
    for port in (0..count).map(|n| if first == 0 { 0 } else { first.saturating_add(n as u16) }) {
        listeners.push(listen(port, option).await?);
    }
    Ok(listeners)
}

/// `process 123 (python3)`, as far as Linux lets us see.
fn owner(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| listening(line, port)).collect::<Vec<_>>())
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    for process in processes.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())) {
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let mut targets = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        if targets.any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str())) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {} ({})", process.file_name().to_string_lossy(), name.trim()));
        }
    }
    None
}

/// The inode of a line of `/proc/net/tcp` that listens on `port` (state 0A).
fn listening(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, hex) = fields.get(1)?.rsplit_once(':')?;
    let here = u16::from_str_radix(hex, 16).ok()? == port && *fields.get(3)? == "0A";
    here.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_its_owner_and_the_option() {
        let taken = listen(0, "--http-port").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let problem = listen(port, "--http-port").await.unwrap_err();
        let owner = format!("process {}", std::process::id());
        assert!(problem.contains(&format!("port {port} is in use")) && problem.contains("--http-port"), "{problem}");
        assert!(problem.contains(&owner), "{problem}");
    }
}
