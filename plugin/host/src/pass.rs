//! One pass: walks the roots, reads what is new or has changed, and forgets what is gone.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use chunked_linux::Dir;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::database::{Database, Directory, Indexed};
use crate::error::HostError;
use crate::filesystems::Filesystem;
use crate::lock::PassLock;
use crate::options::{HostOptions, Policy};
use crate::packages::Owned;
use crate::reader::{Control, Reader, Unread};
use crate::root::{Root, join};
use crate::rules::{Facts, Skip, admit, is_public};
use crate::stamp::Stamp;
use crate::status::PassReport;

/// Files and bytes read between two writes to the index: what an interruption costs at most.
const BATCH_FILES: usize = 256;
const BATCH_BYTES: u64 = 64 << 20;
/// How often others are told how far it is.
const TELL: Duration = Duration::from_secs(1);
/// Names under which the index keeps the reports of passes.
pub(crate) const RUNNING: &str = "running";
pub(crate) const FINISHED: &str = "finished";

/// Brings the index of the store at `store` up to date with the host. Reads only files that are new or changed
/// since the last pass, also if that one was interrupted.
///
/// # Errors
/// [`HostError`]; what was indexed up to then is kept.
pub fn run(store: &Path, options: &HostOptions, control: &Control) -> Result<PassReport, HostError> {
    if options.policy == Policy::Off {
        return Err(HostError::Off);
    }
    let _lock = PassLock::take(store)?;
    let path = store.join("host.db");
    let failed = |source| HostError::Database { path: path.clone(), source };
    let database = Database::create(&path).map_err(failed)?;
    let owned =
        (options.policy == Policy::PackageOwned).then(|| Owned::read(&options.system, &options.roots));
    let mut walk = Walk {
        rules: options.fingerprint(),
        options,
        control,
        owned,
        database,
        reader: Reader::new(control),
        seen: HashSet::new(),
        told: None,
    };
    walk.begin().map_err(failed)?;
    match walk.run() {
        Ok(()) => walk.end().map_err(failed),
        Err(Stop::Database(source)) => Err(failed(source)),
        Err(Stop::Asked) => {
            walk.tell(true).map_err(failed)?;
            Err(HostError::Stopped)
        }
    }
}

enum Stop {
    Asked,
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

struct Walk<'a> {
    options: &'a HostOptions,
    rules: i64,
    control: &'a Control,
    owned: Option<Owned>,
    database: Database,
    reader: Reader<'a>,
    /// Directories of the index that are there.
    seen: HashSet<i64>,
    told: Option<Instant>,
}

/// Names in one directory, with the state of each file.
type Files = Vec<(Vec<u8>, Stamp)>;

/// A directory to look at: its path below the root.
struct Place<'r> {
    root: &'r Root,
    path: Vec<u8>,
}

impl Walk<'_> {
    fn begin(&mut self) -> rusqlite::Result<()> {
        let last: Option<PassReport> =
            self.database.state(FINISHED)?.and_then(|text| serde_json::from_str(&text).ok());
        self.control.progress.change(|report| {
            report.started = seconds(SystemTime::now());
            report.expected = last.map_or(0, |last| last.files);
            if let Some(owned) = &self.owned {
                report.packages.clone_from(&owned.sources);
                if report.expected == 0 {
                    report.expected = owned.len() as u64;
                }
            }
        });
        if self.owned.as_ref().is_some_and(|owned| owned.sources.is_empty()) {
            tracing::warn!(
                "no package database was found, so no host file qualifies; with `policy = \"any\"` in section [host] all world-readable files do"
            );
        }
        self.tell(true)
    }

    fn end(mut self) -> Result<PassReport, rusqlite::Error> {
        let all = self.database.directories()?;
        let gone: Vec<i64> = all.into_iter().filter(|id| !self.seen.contains(id)).collect();
        let removed = self.database.remove_directories(&gone)?;
        self.control.progress.change(|report| {
            report.removed += removed;
            report.finished = Some(seconds(SystemTime::now()));
        });
        self.tell(true)?;
        let report = self.control.progress.report();
        self.database.set_state(FINISHED, &text(&report))?;
        Ok(report)
    }

    /// Lets others know how far it is.
    fn tell(&mut self, now: bool) -> rusqlite::Result<()> {
        if now || self.told.is_none_or(|told| told.elapsed() > TELL) {
            self.database.set_state(RUNNING, &text(&self.control.progress.report()))?;
            self.told = Some(Instant::now());
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), Stop> {
        for path in &self.options.roots {
            match Root::open(path, self.options.mounts) {
                Ok(root) => self.root(&root)?,
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(root = %path, %error, "host files below this root are not indexed");
                }
            }
        }
        Ok(())
    }

    fn root(&mut self, root: &Root) -> Result<(), Stop> {
        let mut todo = vec![Place { root, path: Vec::new() }];
        while let Some(place) = todo.pop() {
            if self.control.is_stopped() {
                return Err(Stop::Asked);
            }
            match self.enter(&place) {
                Ok((directory, device)) => {
                    let below = self.directory(&place, &directory, device)?;
                    let path = |name: Vec<u8>| Place { root, path: join(&place.path, &name) };
                    // The first in order is the next to come off the end.
                    todo.extend(below.into_iter().rev().map(path));
                }
                Err(skip) => self.control.progress.skip(skip),
            }
            self.tell(false)?;
        }
        Ok(())
    }

    /// Opens a directory that everybody may read and that lies on an allowed filesystem.
    fn enter(&self, place: &Place<'_>) -> Result<(Dir, u64), Skip> {
        let directory = place.root.directory(&place.path).map_err(|error| unopened(&error))?;
        let status = directory.status().map_err(|_| Skip::Unreadable)?;
        if !is_public(status.st_mode) {
            return Err(Skip::Private);
        }
        let kind = directory.filesystem().map_err(|_| Skip::Unreadable)?;
        let allowed = Filesystem::of(kind).is_some_and(|kind| self.options.filesystems.contains(&kind));
        if allowed { Ok((directory, status.st_dev)) } else { Err(Skip::Filesystem) }
    }

    /// Brings the rows of one directory up to date; gives the names of directories in it.
    fn directory(&mut self, place: &Place<'_>, directory: &Dir, device: u64) -> Result<Vec<Vec<u8>>, Stop> {
        let progress = &self.control.progress;
        progress.change(|report| report.directories += 1);
        let Ok(names) = directory.names() else {
            progress.skip(Skip::Unreadable);
            return Ok(Vec::new());
        };
        let (mut below, mut files) = (Vec::new(), Vec::new());
        for name in names {
            let Ok(status) = directory.stat(&name) else { continue };
            if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
                below.push(name);
                continue;
            }
            match self.admit(place, &name, &status) {
                Ok(()) => files.push((name, Stamp::from(&status))),
                Err(skip) => progress.skip(skip),
            }
        }
        let (id, fresh) = self.settle(place, device, files)?;
        if let Some(id) = id {
            self.seen.insert(id);
            self.read(place, id, fresh)?;
        }
        Ok(below)
    }

    fn admit(&self, place: &Place<'_>, name: &[u8], status: &Stat) -> Result<(), Skip> {
        admit(&Facts::from(status), self.options)?;
        let Some(owned) = &self.owned else { return Ok(()) };
        let path = place.root.path.join(std::ffi::OsStr::from_bytes(&join(&place.path, name)));
        if owned.contains(&self.options.system, &path) { Ok(()) } else { Err(Skip::NotOwned) }
    }

    /// Drops the rows of files that are gone, changed or do not qualify any more. Gives the directory's id, if it
    /// needs one, and the files to read.
    fn settle(&mut self, place: &Place<'_>, device: u64, files: Files) -> Result<(Option<i64>, Files), Stop> {
        let (root, path) = (place.root.key(), place.path.as_slice());
        let (id, mut known) = match self.database.directory(root, path)? {
            Some((id, known)) => (Some(id), known),
            None if files.is_empty() => return Ok((None, files)),
            None => (None, Directory::default()),
        };
        let fresh: Vec<_> = files
            .into_iter()
            .filter(|(name, stamp)| {
                let same = known.files.get(name) == Some(stamp);
                if same {
                    known.files.remove(name);
                    self.control.progress.admit(stamp.size);
                }
                !same
            })
            .collect();
        let gone: Vec<Vec<u8>> = known.files.into_keys().collect();
        if let (Some(id), true) = (id, gone.is_empty() && known.device == device && known.rules == self.rules)
        {
            return Ok((Some(id), fresh));
        }
        let again: HashSet<&[u8]> = fresh.iter().map(|(name, _)| name.as_slice()).collect();
        let removed = gone.iter().filter(|name| !again.contains(name.as_slice())).count() as u64;
        self.control.progress.change(|report| report.removed += removed);
        let id = self.database.settle_directory(root, path, device, self.rules, &gone)?;
        Ok((Some(id), fresh))
    }

    /// Reads files and writes their rows.
    fn read(&mut self, place: &Place<'_>, id: i64, files: Files) -> Result<(), Stop> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (name, stamp) in files {
            match self.digest(place, &name, stamp) {
                Ok(indexed) => {
                    self.control.progress.admit(indexed.stamp.size);
                    bytes += indexed.stamp.size;
                    batch.push(indexed);
                }
                Err(Unread::Skip(skip)) => self.control.progress.skip(skip),
                Err(Unread::Stopped) => {
                    self.write(id, &mut batch)?;
                    return Err(Stop::Asked);
                }
            }
            if batch.len() >= BATCH_FILES || bytes >= BATCH_BYTES {
                self.write(id, &mut batch)?;
                bytes = 0;
                self.tell(false)?;
            }
        }
        self.write(id, &mut batch)
    }

    fn write(&mut self, id: i64, batch: &mut Vec<Indexed>) -> Result<(), Stop> {
        if !batch.is_empty() {
            self.database.insert(id, batch)?;
            self.control.progress.change(|report| report.hashed_files += batch.len() as u64);
            batch.clear();
        }
        Ok(())
    }

    fn digest(&mut self, place: &Place<'_>, name: &[u8], stamp: Stamp) -> Result<Indexed, Unread> {
        let skip = |error| Unread::Skip(unopened(&error));
        let looked = place.root.look(&join(&place.path, name)).map_err(skip)?;
        let meta = looked.metadata();
        // The name may lead to another file by now.
        if Stamp::from(meta) != stamp {
            return Err(Unread::Skip(Skip::Changing));
        }
        admit(&Facts::from(meta), self.options).map_err(Unread::Skip)?;
        let mut file = looked.open().map_err(skip)?;
        let digest = self.reader.digest(&mut file, meta)?;
        Ok(Indexed { name: name.to_vec(), digest, stamp })
    }
}

/// Why something could not be opened.
fn unopened(error: &std::io::Error) -> Skip {
    if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) { Skip::OtherMount } else { Skip::Unreadable }
}

fn text(report: &PassReport) -> String {
    serde_json::to_string(report).unwrap_or_default()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
