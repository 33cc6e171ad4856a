//! What the kernel says of this process.

use std::fs;
use std::time::SystemTime;

use chunked_metrics::Process;

/// Ticks of a second in what the kernel shows to programs: 100 on every architecture we run on.
const USER_HZ: f64 = 100.0;

/// Reads it. What cannot be read is 0.
pub(crate) fn read(started: SystemTime) -> Process {
    let started = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Process {
        cpu: cpu().unwrap_or(0.0),
        resident: resident().unwrap_or(0),
        files: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        started: started.as_secs_f64(),
    }
}

/// Processor time in seconds: the fields `utime` and `stime` of proc(5).
fn cpu() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may have spaces.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map_while(|field| field.parse::<u32>().ok());
    Some((f64::from(times.next()?) + f64::from(times.next()?)) / USER_HZ)
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells() {
        let process = read(SystemTime::now());
        assert!(process.cpu >= 0.0 && process.resident > 1 << 20 && process.files > 2, "{process:?}");
    }
}
