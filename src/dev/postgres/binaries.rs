//! Where Postgres is installed.

use std::path::{Path, PathBuf};

use super::place::Place;
use super::{ClusterError, io};

/// The programs of one installation.
#[derive(Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
    pub major: String,
}

impl Binaries {
    /// The installation that made the cluster in `place`; for a new one the first of `PATH`, then the newest of Debian's
    /// (`/usr/lib/postgresql/15/bin`) and Red Hat's (`/usr/pgsql-15/bin`) directories.
    pub fn find(place: &Place) -> Result<Self, ClusterError> {
        let wanted = std::fs::read_to_string(place.data().join("PG_VERSION")).ok().map(|text| text.trim().to_owned());
        let mut found = Vec::new();
        for dir in candidates() {
            if !["postgres", "initdb", "createdb", "psql"].iter().all(|name| dir.join(name).is_file()) {
                continue;
            }
            let major = major_of(&dir.join("postgres"))?;
            if wanted.as_ref().is_none_or(|wanted| *wanted == major) {
                return Ok(Self { dir, major });
            }
            found.push(major);
        }
        match wanted {
            Some(wanted) if !found.is_empty() => {
                let dir = place.dir().to_owned();
                Err(ClusterError::OtherVersion { dir, wanted, found: found.join(", ") })
            }
            _ => Err(ClusterError::NotInstalled),
        }
    }

    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }
}

fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versioned = versioned_dirs(Path::new("/usr/lib/postgresql"), "");
    versioned.extend(versioned_dirs(Path::new("/usr"), "pgsql-"));
    versioned.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    dirs.extend(versioned.into_iter().map(|(_, dir)| dir));
    dirs
}

fn versioned_dirs(parent: &Path, prefix: &str) -> Vec<(u32, PathBuf)> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let version = |name: &str| name.strip_prefix(prefix)?.parse().ok();
    entries.filter_map(|entry| Some((version(entry.file_name().to_str()?)?, entry.path().join("bin")))).collect()
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → `15`
fn major_of(postgres: &Path) -> Result<String, ClusterError> {
    let what = postgres.display().to_string();
    let output = std::process::Command::new(postgres).arg("--version").output().map_err(io(&what))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_major(&text).ok_or(ClusterError::Failed { what, status: output.status.to_string(), output: text })
}

fn parse_major(version: &str) -> Option<String> {
    let number = version.split_once(") ")?.1;
    let major: String = number.chars().take_while(char::is_ascii_digit).collect();
    (!major.is_empty()).then_some(major)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_major(debian).as_deref(), Some("15"));
        assert_eq!(parse_major("postgres (PostgreSQL) 19beta2").as_deref(), Some("19"));
        assert_eq!(parse_major("something else"), None);
    }
}
