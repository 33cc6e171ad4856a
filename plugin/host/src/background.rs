//! Passes in the background, while the daemon runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::HostError;
use crate::options::HostOptions;
use crate::pass;
use crate::reader::Control;
use crate::status::Progress;

/// How often a waiting thread looks whether to stop.
const NAP: Duration = Duration::from_millis(200);

/// When and how fast passes run.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Time before the first pass.
    pub delay: Duration,
    /// Time between the end of a pass and the next.
    pub interval: Duration,
    /// Bytes read per second, at most; 0 means as fast as it goes.
    pub rate: u64,
}

/// The thread that runs passes. Dropping it stops it, and waits until it has.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts the thread for the store at `store`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(store: &Path, options: HostOptions, schedule: Schedule) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (store, stopped) = (store.to_owned(), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("host-index".into())
            .spawn(move || run(&store, &options, schedule, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its only result is that it ended.
            let _ = thread.join();
        }
    }
}

fn run(store: &Path, options: &HostOptions, schedule: Schedule, stop: &Arc<AtomicBool>) {
    step_back();
    let mut wait = schedule.delay;
    while !sleep(wait, stop) {
        wait = schedule.interval;
        let control = Control { rate: schedule.rate, stop: Arc::clone(stop), progress: Progress::default() };
        let started = Instant::now();
        match pass::run(store, options, &control) {
            Ok(report) => tracing::info!(
                files = report.files,
                read = report.hashed_files,
                read_bytes = report.hashed_bytes,
                removed = report.removed,
                seconds = started.elapsed().as_secs(),
                "host files indexed"
            ),
            Err(HostError::Busy | HostError::Stopped) => {}
            Err(error) => tracing::warn!(%error, "host files are not indexed"),
        }
    }
}

/// The least share of processor and disk that can be had without leave: on Linux the nice value is the thread's,
/// and gives its I/O the lowest best-effort priority, too (ioprio_set(2), "I/O scheduling classes").
fn step_back() {
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!(%error, "indexing at ordinary priority");
    }
}

/// Sleeps; true when it is time to stop.
fn sleep(time: Duration, stop: &AtomicBool) -> bool {
    let end = Instant::now() + time;
    while !stop.load(Ordering::Relaxed) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(NAP));
    }
    true
}
