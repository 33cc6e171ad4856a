//! The history as the daemon has it: the book, and the file behind it.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::book::{Book, Start};
use crate::file::Lines;
use crate::record::{LayerRecord, PullRecord};

/// All pulls, up to a number. Its methods take no longer than a look into memory, but for [`History::keep`].
#[derive(Debug)]
pub struct History {
    /// Records kept at most; 0: none.
    most: usize,
    book: Mutex<Book>,
    lines: Mutex<Lines>,
}

impl History {
    /// Name of the file, in the root of the store.
    pub const FILE: &str = "history.jsonl";

    /// The history in the file at `path`, of at most `most` pulls; 0 keeps none. What cannot be read is left out. Blocks
    /// on the disk.
    pub fn open(path: &Path, most: usize) -> Self {
        let (lines, earlier) = Lines::open(path);
        Self { most, book: Mutex::new(Book::new(most, earlier)), lines: Mutex::new(lines) }
    }

    /// A layer of an image is asked for: the pull begins, unless it has begun. Gives one that ended for that.
    pub fn begin(&self, start: Start) -> Option<PullRecord> {
        self.book.lock().begin(start, now())
    }

    /// What became of a layer of the image `manifest`, if it is being pulled. True when that was news.
    pub fn layer(&self, manifest: &str, came: &LayerRecord) -> bool {
        self.book.lock().layer(manifest, came, now())
    }

    /// The layer `index` is ready and whoever asked for it is told. Gives the record if that was the last layer.
    pub fn answered(&self, manifest: &str, index: usize) -> Option<PullRecord> {
        self.book.lock().answered(manifest, index, now())
    }

    /// containerd downloads the layer `index`. Gives the record if that was the last layer.
    pub fn handed_over(&self, manifest: &str, index: usize, reason: &str) -> Option<PullRecord> {
        self.book.lock().handed_over(manifest, index, reason, now())
    }

    /// The pull failed, with the layer `index` if that is known. Gives the record.
    pub fn failed(&self, manifest: &str, index: Option<usize>, reason: &str) -> Option<PullRecord> {
        self.book.lock().failed(manifest, index, reason, now())
    }

    /// Ends pulls where nothing happened for `idle`, unless `is_busy`. Gives their records.
    pub fn sweep(&self, idle: Duration, is_busy: impl Fn(&PullRecord) -> bool) -> Vec<PullRecord> {
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        self.book.lock().sweep(now().saturating_sub(idle), is_busy)
    }

    /// Writes a record that ended to the file. Blocks on the disk. What cannot be written is lost with the process.
    pub fn keep(&self, record: &PullRecord) {
        if self.most == 0 {
            return;
        }
        let all = || self.book.lock().closed().cloned().collect();
        let mut lines = self.lines.lock();
        if let Err(error) = lines.add(record, self.most, all) {
            tracing::warn!(%error, "a record of the history of pulls is not kept");
        }
    }

    /// All records, oldest first; pulls that go on come last.
    pub fn all(&self) -> Vec<PullRecord> {
        self.book.lock().all()
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.book.lock().len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
