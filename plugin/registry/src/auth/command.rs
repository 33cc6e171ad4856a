//! Running a credential helper: bounded in time and output, and ended with all its children.
//!
//! Nothing it writes gets into an error: both of its streams may hold secrets.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::SecretSlice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Most bytes read from a helper.
const MAX_OUTPUT: usize = 1 << 20;
/// How long output is waited for that somebody else keeps open, once the helper has ended.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// Why a helper gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("cannot be run: {0}")]
    Start(String),
    #[error("did not end within {} s and was killed", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("wrote more than {MAX_OUTPUT} bytes and was killed")]
    TooLong,
    #[error("ended with {0}")]
    Failed(String),
    #[error("its output cannot be read: {0}")]
    Output(String),
}

/// How a helper ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub success: bool,
    pub stdout: SecretSlice<u8>,
    /// Exit status as text.
    pub status: String,
    /// Ended by a signal.
    pub signalled: bool,
}

/// Kills a helper and what it has started, unless it has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Fails only when all of them have ended.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Runs `command` with `input` and gives what it wrote to standard output. Its standard error is discarded.
/// Dropping the future kills it.
///
/// # Errors
///
/// [`CommandError`]; an exit status other than 0 is no error.
pub(crate) async fn run(mut command: Command, input: &[u8], limit: Duration) -> Result<Output, CommandError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own, so that what it starts is killed with it.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| CommandError::Start(error.to_string()))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // Some helpers answer without reading.
            let _ = stdin.write_all(input).await;
        }
    };
    let unread = |error: std::io::Error| CommandError::Output(error.to_string());
    let mut bytes = Vec::new();
    let whole = async {
        let read = async {
            match stdout {
                Some(stdout) => stdout.take(MAX_OUTPUT as u64 + 1).read_to_end(&mut bytes).await,
                None => Ok(0),
            }
        };
        tokio::pin!(read);
        let status = tokio::select! {
            done = &mut read => {
                // Whoever writes more than is read would wait for ever.
                if done.map_err(unread)? > MAX_OUTPUT {
                    return Err(CommandError::TooLong);
                }
                child.wait().await
            }
            status = child.wait() => {
                // What it wrote is here; a process that it left behind may keep its output open.
                if let Ok(done) = tokio::time::timeout(LEFT_BEHIND, read).await {
                    done.map_err(unread)?;
                }
                status
            }
        };
        status.map_err(unread)
    };
    let both = async { tokio::join!(write, whole).1 };
    let status = tokio::time::timeout(limit, both).await.map_err(|_| CommandError::TimedOut(limit))??;
    if bytes.len() > MAX_OUTPUT {
        return Err(CommandError::TooLong);
    }
    // Its number may be another's from now on.
    group.0 = None;
    let signalled = std::os::unix::process::ExitStatusExt::signal(&status).is_some();
    Ok(Output { success: status.success(), stdout: bytes.into(), status: status.to_string(), signalled })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use secrecy::ExposeSecret;

    use super::*;

    async fn sh(script: &str, millis: u64) -> Result<Output, CommandError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, b"https://r.example", Duration::from_millis(millis)).await
    }

    #[tokio::test]
    async fn input_goes_in_and_output_comes_out() {
        let output = sh("cat; echo SECRET >&2; exit 3", 5000).await.unwrap();
        assert_eq!(output.stdout.expose_secret(), b"https://r.example");
        assert!(!output.success && output.status.contains('3'), "{output:?}");
        assert!(!format!("{output:?}").contains("104"), "Debug hides the output: {output:?}");
        assert!(sh("exec 0<&-; sleep 0.1; echo x", 5000).await.unwrap().success, "input need not be read");
        let missing = run(Command::new("/nonexistent/helper"), b"", Duration::from_secs(1)).await;
        assert!(matches!(missing, Err(CommandError::Start(_))));
    }

    #[tokio::test]
    async fn hanging_helpers_are_killed_with_their_children() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let started = Instant::now();
        let script = format!("sleep 300 & echo $! > {0}; sleep 300", file.path().display());
        assert_eq!(sh(&script, 300).await.unwrap_err(), CommandError::TimedOut(Duration::from_millis(300)));
        assert!(started.elapsed() < Duration::from_secs(5));
        let pid = std::fs::read_to_string(file.path()).unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z")
        };
        while !gone() {
            assert!(started.elapsed() < Duration::from_secs(10), "its child lives");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // A child that keeps the output open does not keep us.
        let left = sh("sleep 20 & echo here", 10_000).await.unwrap();
        assert!(left.success && left.stdout.expose_secret() == b"here\n");
    }

    #[tokio::test]
    async fn output_is_bounded() {
        assert_eq!(sh("yes", 10_000).await.unwrap_err(), CommandError::TooLong);
    }
}
