//! Processes behind sockets: who they are, since when, and with which arguments.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chunked_doctor::Process;

use super::gather;

/// The process that listens on a unix socket, as the kernel knows it.
pub(super) fn behind(socket: &Path) -> io::Result<Process> {
    let stream = UnixStream::connect(socket)?;
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).map_err(io::Error::other)?;
    Ok(gather::process_of(pid))
}

/// When a process began: its age in the kernel's ticks, from now.
pub(super) fn started(pid: u32) -> Option<SystemTime> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; field 22, the 20th after it, is the start.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let began = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(uptime - began).ok()?)
}

/// The value of an option among a process' arguments, as `-c FILE`, `--config FILE` or `--config=FILE`.
pub(super) fn option(pid: u32, names: &[&str]) -> Option<PathBuf> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut words = text.split('\0');
    while let Some(word) = words.next() {
        if names.contains(&word) {
            return words.next().map(PathBuf::from);
        }
        if let Some((name, value)) = word.split_once('=')
            && names.contains(&name)
        {
            return Some(value.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_began_a_while_ago() {
        let began = started(std::process::id()).unwrap();
        let age = SystemTime::now().duration_since(began).unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        assert_eq!(started(0), None);
    }

    #[test]
    fn the_kernel_knows_who_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(behind(&path).unwrap().pid, std::process::id());
    }
}
