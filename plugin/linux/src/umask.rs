//! The process's umask: left alone, and reckoned with.

use std::sync::OnceLock;

/// Every permission bit: what to expect of an unknown umask.
const ALL: u32 = 0o777;

/// The permission bits that a file created with `mode` has afterwards. Nobody in this process changes the umask, so it is
/// read once; where it cannot be read, no bit is certain.
pub(crate) fn left_of(mode: u32) -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    mode & !UMASK.get_or_init(|| read().unwrap_or(ALL))
}

/// `Umask:` in `/proc/self/status` (proc_pid_status(5)): asking the kernel in any other way sets it.
fn read() -> Option<u32> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u32> {
    let octal = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(octal.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found() {
        assert_eq!(parse("Name:\tx\nUmask:\t0027\nState:\tR\n"), Some(0o27));
        assert_eq!(parse("Name:\tx\n"), None);
        assert!(read().is_some_and(|umask| umask <= ALL));
    }
}
