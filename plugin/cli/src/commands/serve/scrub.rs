//! The scrub: once in a while the store's files are read and compared with their digests, at the lowest priority, and
//! what is wrong is repaired as `store verify --contents --repair` does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use chunked_core::Causes;
use chunked_store::{Problem, Repairer, Store, Verified, VerifyOptions, Watch};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// What the last scrub found, in the root.
const FILE: &str = "scrub.json";
/// How often a waiting thread looks whether to stop, and whether it is time.
const NAP: Duration = Duration::from_millis(200);
/// Bytes read between two rests.
const STRETCH: u64 = 4 << 20;

/// A scrub that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// Seconds after the epoch; of a store that never had a scrub, when that was noticed.
    pub(crate) at: u64,
    pub(crate) layers: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) problems: u64,
    pub(crate) repaired: u64,
}

/// What `status` shows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shown {
    /// Time from one scrub to the next; zero if there is none.
    pub(crate) interval: Duration,
    /// How far the running one is.
    pub(crate) running: Option<Verified>,
    /// The last one, if there was any.
    pub(crate) last: Option<Finished>,
}

/// When and how fast the store is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Zero: never.
    pub(crate) interval: Duration,
    /// Bytes per second at most; zero means as fast as it goes.
    pub(crate) rate: u64,
}

/// The thread. Dropping it ends it, with the file that it is reading.
#[derive(Debug)]
pub(crate) struct Scrub {
    stop: Arc<AtomicBool>,
    shown: Arc<Mutex<Shown>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrub {
    /// Starts it; without an interval nothing runs.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(
        store: Arc<Store>,
        schedule: Schedule,
        repairer: impl Repairer + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let path = store.root().join(FILE);
        let shown = Shown { interval: schedule.interval, running: None, last: read(&path) };
        let shown = Arc::new(Mutex::new(shown));
        let work = Work { store, schedule, path, stop: Arc::clone(&stop), shown: Arc::clone(&shown) };
        let thread = if schedule.interval.is_zero() {
            None
        } else {
            Some(std::thread::Builder::new().name("scrub".into()).spawn(move || work.run(repairer))?)
        };
        Ok(Self { stop, shown, thread })
    }

    /// For `status`.
    pub(crate) fn shown(&self) -> Arc<Mutex<Shown>> {
        Arc::clone(&self.shown)
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the scrubbing thread ended abnormally");
        }
    }
}

struct Work {
    store: Arc<Store>,
    schedule: Schedule,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    shown: Arc<Mutex<Shown>>,
}

impl Work {
    fn run(self, mut repairer: impl Repairer) {
        step_back();
        // A new store has nothing that could have rotted.
        let first = self.shown.lock().last.is_none();
        if first {
            self.finish(Finished { at: seconds(), ..Finished::default() });
        }
        while !self.stop.load(Ordering::Relaxed) {
            if !self.is_due() {
                std::thread::sleep(NAP);
                continue;
            }
            tracing::info!("scrub: reading the store");
            self.shown.lock().running = Some(Verified::default());
            let mut watch = Pace { work: &self, read: 0, began: Instant::now() };
            let options = VerifyOptions { contents: true, repair: true };
            let done = self.store.verify_with(options, &mut watch, Some(&mut repairer));
            self.shown.lock().running = None;
            match done {
                // The next start begins anew.
                _ if self.stop.load(Ordering::Relaxed) => return,
                Ok(Verified { layers, files, bytes, problems, repaired }) => {
                    tracing::info!(layers, files, bytes, problems, repaired, "scrub: done");
                    self.finish(Finished { at: seconds(), layers, files, bytes, problems, repaired });
                }
                Err(error) => {
                    tracing::error!(error = %Causes(&error), "scrub: the store cannot be read");
                    self.finish(Finished { at: seconds(), ..Finished::default() });
                }
            }
        }
    }

    fn is_due(&self) -> bool {
        let last = self.shown.lock().last.map_or(0, |last| last.at);
        // A clock that was set back must not put it off for years.
        let since = seconds().saturating_sub(last);
        since >= self.schedule.interval.as_secs() || last > seconds() + 86_400
    }

    fn finish(&self, finished: Finished) {
        self.shown.lock().last = Some(finished);
        if let Err(error) = write(&self.path, &finished) {
            tracing::warn!(path = %self.path.display(), %error, "the scrub's result is not kept");
        }
    }
}

/// Watches a scrub, and makes it slow.
struct Pace<'a> {
    work: &'a Work,
    read: u64,
    began: Instant,
}

impl Watch for Pace<'_> {
    fn progress(&mut self, so_far: &Verified) -> bool {
        self.work.shown.lock().running = Some(*so_far);
        !self.work.stop.load(Ordering::Relaxed)
    }

    fn problem(&mut self, problem: &Problem) -> bool {
        let Problem { id, what, text, repaired } = problem;
        if *repaired {
            tracing::warn!(id, what, text, "scrub: repaired");
        } else {
            tracing::error!(id, what, text, "scrub: problem");
        }
        !self.work.stop.load(Ordering::Relaxed)
    }

    fn read(&mut self, bytes: u64) {
        self.read += bytes;
        // A layer, or one of its files, may take long: then this says how far it is.
        if let Some(running) = &mut self.work.shown.lock().running {
            running.bytes += bytes;
        }
        let rate = self.work.schedule.rate;
        if self.read < STRETCH || rate == 0 || self.work.stop.load(Ordering::Relaxed) {
            return;
        }
        let due = Duration::from_millis(self.read.saturating_mul(1000) / rate);
        std::thread::sleep(due.saturating_sub(self.began.elapsed()));
        (self.read, self.began) = (0, Instant::now());
    }
}

/// The lowest priority of processor and disk that can be had without leave; see ARCHITECTURE.md, "I/O priority".
fn step_back() {
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!(%error, "scrubbing at ordinary priority");
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn read(path: &Path) -> Option<Finished> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, finished: &Finished) -> io::Result<()> {
    let new = path.with_extension("json.new");
    fs::write(&new, serde_json::to_vec(finished)?)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use chunked_store::{DamagedLayer, LayerPin};

    use super::*;

    struct Nobody;

    impl Repairer for Nobody {
        fn pull_again(&mut self, _: &DamagedLayer) -> Result<LayerPin, String> {
            Err("nobody".to_owned())
        }
    }

    fn start(store: &Arc<Store>, seconds: u64) -> Scrub {
        let schedule = Schedule { interval: Duration::from_secs(seconds), rate: 0 };
        Scrub::start(Arc::clone(store), schedule, Nobody).unwrap()
    }

    fn wait_until(what: impl Fn() -> bool) {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < Duration::from_secs(20), "it never happened");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_store_is_read_when_it_is_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let path = dir.path().join(FILE);
        let scrub = start(&store, 3600);
        wait_until(|| path.exists());
        let began = read(&path).unwrap();
        assert_eq!(Finished { at: 0, ..began }, Finished::default(), "a new store is not read");
        drop(scrub);
        // Long ago.
        write(&path, &Finished { at: 1000, ..Finished::default() }).unwrap();
        let scrub = start(&store, 3600);
        wait_until(|| read(&path).is_some_and(|last| last.at > 1000));
        assert!(scrub.shown().lock().running.is_none());
        drop(scrub);
        // Off.
        write(&path, &Finished { at: 1000, ..Finished::default() }).unwrap();
        let scrub = start(&store, 0);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(read(&path).unwrap().at, 1000);
        assert!(scrub.thread.is_none());
    }
}
