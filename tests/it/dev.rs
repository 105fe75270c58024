//! `voxd dev`: from an empty directory to ended sample calls, and away without a trace.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(180);

/// Where the server's user can get in.
fn scratch() -> TempDir {
    let dir = tempfile::Builder::new().prefix("voxd-dev-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn dev(dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxd"));
    command.args(["dev", "--http-port", "0", "--sqs-port", "0", "--bland-port", "0", "--dir"]).arg(dir).args(more);
    // A real account in the environment must not be reached.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("BLAND_AI_API_KEY", "org_real").env("DATABASE_URL", "postgres://127.0.0.1:1/real");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn ended(child: Child) -> (i32, String, String) {
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Processes whose command line names the directory.
fn left_over(dir: &Path) -> Vec<String> {
    let name = dir.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|line| line.contains(name))
        .map(|line| line.replace('\0', " "))
        .collect()
}

#[tokio::test]
async fn the_sample_calls_end_and_the_next_start_keeps_them() {
    let scratch = scratch();
    let dir = scratch.path().join("dev");
    let (code, out, err) = ended(dev(&dir, &["--once"]).spawn().unwrap()).await;
    assert_eq!(code, 0, "{out}{err}");
    let results = out.split("the sample calls have ended").nth(1).unwrap_or_default();
    for (name, status) in [
        ("answered", "completed"),
        ("no-answer-then-retry", "no_answer"),
        ("busy", "busy"),
        ("voicemail", "voicemail"),
        ("invalid-number", "failed"),
        ("lost-answer", "completed"),
        ("misspelt", "rejected"),
        ("answered-by-elevenlabs", "completed"),
    ] {
        let line = results.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        assert!(line.trim_end().ends_with(status), "{name}: {line:?}\n{out}");
    }
    for (name, _) in voxd::sim::PLATFORMS {
        assert!(out.lines().any(|line| line.contains(name) && line.contains("/_voxd/")), "{name}: {out}");
    }
    assert!(!out.contains('\u{1b}'), "colours where nobody looks:\n{out}");
    assert_eq!(left_over(&dir), Vec::<String>::new());

    // A second start, ended by Ctrl-C; meanwhile another terminal uses the file that was written for it.
    let mut child = dev(&dir, &["--no-samples"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let up = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("environment") {
                return;
            }
        }
        panic!("it ended before it was up");
    };
    tokio::time::timeout(LIMIT, up).await.expect("it comes up");
    let script = format!(". {}/env && voxd calls list && voxd queue dlq && test -n \"$VOXD_API_KEY\"", dir.display());
    let other = Command::new("sh").args(["-c", &script]).output().await.unwrap();
    let listed = String::from_utf8(other.stdout).unwrap();
    assert!(other.status.success(), "{listed}{}", String::from_utf8_lossy(&other.stderr));
    assert!(listed.contains("samples/answered-run1") && listed.contains("schema"), "{listed}");
    let pid = Pid::from_raw(child.id().unwrap() as i32).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    while lines.next_line().await.unwrap().is_some() {}
    let (code, _, err) = ended(child).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(left_over(&dir), Vec::<String>::new());
    let log = std::fs::read_to_string(dir.join("voxd.log")).unwrap();
    assert!(log.contains("\"message\":\"serving\"") && !log.contains("org_real"));
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_owner_and_the_way_out() {
    let scratch = scratch();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxd"));
    command.args(["dev", "--http-port", "0", "--bland-port", "0", "--sqs-port", &port, "--dir"]);
    command.arg(scratch.path().join("dev")).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let (code, _, err) = ended(command.spawn().unwrap()).await;
    assert_eq!(code, 69, "{err}");
    for part in [format!("port {port} is in use by process {}", std::process::id()), "--sqs-port".into()] {
        assert!(err.contains(&part), "{part} is missing: {err}");
    }
}
