//! What goes wrong beside the tar: panics, a network that does not answer, a pull that is given up. None of it costs more
//! than its layer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test are tests, too")]

use std::fs::File;
use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chunked_assemble::{
    AssembleError, Budget, Donor, Extractor, FetchedPiece, FilePiece, Foreign, Inode, Known, Links, Pool,
    Refetch, Rights, Settings, Spare, SparePiece, promise,
};
use chunked_core::{ByteRange, Digest};
use chunked_linux::Dir;

const CONTENT: &[u8] = b"the content of a file";

fn digest() -> Digest {
    Digest::of(CONTENT)
}

/// A layer being unpacked, of files whose content comes from elsewhere.
struct Layer {
    root: tempfile::TempDir,
    extractor: Extractor,
}

impl Layer {
    fn new(pool: &Arc<Pool>, known: Option<Arc<dyn Known>>) -> Self {
        Self::of("a registry", pool, known)
    }

    fn of(owner: &str, pool: &Arc<Pool>, known: Option<Arc<dyn Known>>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (pool, owner, budget) = (Arc::clone(pool), owner.into(), Budget::new(1 << 30));
        let settings = Settings { pool, owner, budget, base: true, known, lease: None };
        let extractor = Extractor::new(root.path(), settings).unwrap();
        Self { root, extractor }
    }

    /// The tar of one file.
    fn tar(name: &str) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(CONTENT.len() as u64);
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_data(&mut header, name, CONTENT).unwrap();
        builder.get_ref().clone()
    }

    /// The headers of a file, and after `content` the padding.
    fn file(
        &mut self,
        name: &str,
        content: impl FnOnce(&mut Extractor) -> Result<(), AssembleError>,
    ) -> Result<(), AssembleError> {
        let tar = Self::tar(name);
        self.extractor.raw(tar[..512].to_vec().into())?;
        content(&mut self.extractor)?;
        self.extractor.raw(vec![0; 512 - CONTENT.len()].into())
    }
}

/// Whoever panics when asked.
#[derive(Debug)]
struct Panics;

impl Foreign for Panics {
    fn open(&self) -> std::io::Result<File> {
        panic!("a fault in opening");
    }

    fn spoiled(&self) {}
}

impl Known for Panics {
    fn find(&self, _: &[(Digest, u64)]) -> Vec<Option<Donor>> {
        panic!("a fault in finding");
    }
}

impl Links for Panics {
    fn claim(&self, _: Inode, _: u64) -> bool {
        panic!("a fault in claiming");
    }

    fn release(&self, _: Inode) {}
}

impl Refetch for Panics {
    fn pieces(&self, _: usize) -> Vec<SparePiece> {
        panic!("a fault in fetching");
    }

    fn read(&self, _: ByteRange) -> Box<dyn Read + Send> {
        panic!("a fault in reading");
    }

    fn again(&self, _: ByteRange) -> Option<Box<dyn Read + Send>> {
        panic!("a fault in asking again");
    }

    fn spoiled(&self, _: &[u8], _: &str) {}
}

fn spare() -> Spare {
    Spare { from: Arc::new(Panics), file: 0 }
}

fn donor(dir: &std::path::Path, rights: Rights) -> Donor {
    let root = Arc::new(Dir::open(dir).unwrap());
    Donor { root, path: b"donor".to_vec(), rights, fresh: false, goes: false, check: true, lender: None }
}

fn garbled() -> FilePiece {
    FilePiece::Fetched(
        FetchedPiece {
            offset: 0,
            len: CONTENT.len() as u64,
            digest: Some(digest()),
            frames: Some(b"no frames"[..].into()),
            again: Some(Arc::new(Panics)),
        },
        None,
    )
}

#[test]
fn a_panic_costs_one_layer() {
    let pool = Pool::new(1).unwrap();
    let donors = tempfile::tempdir().unwrap();
    std::fs::write(donors.path().join("donor"), CONTENT).unwrap();
    let size = CONTENT.len() as u64;
    type Make<'a> = Box<dyn FnOnce(&mut Layer) -> Result<(), AssembleError> + 'a>;
    let cases: Vec<(&str, Make<'_>)> = vec![
        (
            "opening",
            Box::new(|layer| {
                layer.file("the/file", |e| e.foreign(size, digest(), Arc::new(Panics), spare()))
            }),
        ),
        (
            "fetching",
            Box::new(|layer| {
                layer
                    .file("the/file", |e| e.donor(size, digest(), donor("/".as_ref(), Rights::Read), spare()))
            }),
        ),
        (
            "asking again",
            Box::new(|layer| {
                layer.file("the/file", |e| e.pieces(size, digest(), vec![garbled()], Vec::new()))
            }),
        ),
    ];
    for (fault, make) in cases {
        let mut layer = Layer::new(&pool, None);
        let error = make(&mut layer).and_then(|()| layer.extractor.finish().map(drop)).unwrap_err();
        let AssembleError::Panicked { path, message } = error else { panic!("{fault}: {error}") };
        assert_eq!((path.as_str(), message), ("the/file", format!("a fault in {fault}")));
        // Whoever waits for what the layer promised is told that nothing will come of it.
        let (promise, promised) = promise();
        let mut layer = Layer::new(&pool, None);
        let _ = layer.file("f", |e| e.foreign(size, digest(), Arc::new(Panics), spare()));
        let _ = layer.file("g", |e| e.pieces(size, digest(), vec![garbled()], vec![promise]));
        assert!(layer.extractor.finish().is_err() && promised.wait().is_none());
        // Another layer of the same workers.
        let mut next = Layer::new(&pool, None);
        next.extractor.stream(Layer::tar("f").into()).unwrap();
        next.extractor.finish().unwrap();
        assert_eq!(std::fs::read(next.root.path().join("f")).unwrap(), CONTENT);
    }
}

#[test]
fn a_panic_in_a_question_for_many_files_costs_one_layer_too() {
    let pool = Pool::new(1).unwrap();
    let mut layer = Layer::new(&pool, Some(Arc::new(Panics)));
    layer.extractor.stream(Layer::tar("f").into()).unwrap();
    let error = layer.extractor.finish().unwrap_err();
    assert!(
        matches!(&error, AssembleError::Panicked { message, .. } if message.contains("finding")),
        "{error}"
    );
    // A hard link that is about to be made.
    let donors = tempfile::tempdir().unwrap();
    std::fs::write(donors.path().join("donor"), CONTENT).unwrap();
    rustix::fs::chmod(donors.path().join("donor"), 0o644.into()).unwrap();
    File::open(donors.path().join("donor")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    if chunked_linux::can_share_blocks(&Dir::open(donors.path()).unwrap()) {
        return;
    }
    let mut layer = Layer::new(&pool, None);
    let rights = Rights::Link(Arc::new(Panics));
    let donor = donor(donors.path(), rights);
    layer.file("f", |e| e.donor(CONTENT.len() as u64, digest(), donor, spare())).unwrap();
    let error = layer.extractor.finish().unwrap_err();
    assert!(
        matches!(&error, AssembleError::Panicked { message, .. } if message.contains("claiming")),
        "{error}"
    );
}

/// A blob whose registry answers when it is told to.
#[derive(Debug)]
struct Slow {
    frames: Vec<u8>,
    asked: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
}

impl Slow {
    fn new() -> (Arc<Self>, Receiver<()>, Sender<()>) {
        let ((asked, told), (go, wait)) = (channel(), channel());
        let frames = zstd::bulk::compress(CONTENT, 1).unwrap();
        (Arc::new(Self { frames, asked: Mutex::new(asked), go: Mutex::new(wait) }), told, go)
    }
}

impl Refetch for Slow {
    fn pieces(&self, _: usize) -> Vec<SparePiece> {
        let len = CONTENT.len() as u64;
        let described = FetchedPiece { offset: 0, len, digest: Some(digest()), frames: None, again: None };
        vec![SparePiece { described, blob: Some(ByteRange { start: 0, end: self.frames.len() as u64 }) }]
    }

    fn read(&self, _: ByteRange) -> Box<dyn Read + Send> {
        self.asked.lock().unwrap().send(()).unwrap();
        let _ = self.go.lock().unwrap().recv();
        Box::new(std::io::Cursor::new(self.frames.clone()))
    }

    fn again(&self, range: ByteRange) -> Option<Box<dyn Read + Send>> {
        Some(self.read(range))
    }

    fn spoiled(&self, _: &[u8], _: &str) {}
}

/// A layer that has asked a registry that does not answer.
fn stalled(pool: &Arc<Pool>) -> (Layer, Sender<()>) {
    let (slow, asked, go) = Slow::new();
    let mut layer = Layer::new(pool, None);
    let spare = Spare { from: slow, file: 0 };
    let bad = donor("/".as_ref(), Rights::Read);
    layer.file("f", |e| e.donor(CONTENT.len() as u64, digest(), bad, spare)).unwrap();
    // The unit is handed on by what has to wait for something itself.
    let (_promise, promised) = promise();
    layer.file("g", |e| e.promised(CONTENT.len() as u64, digest(), &promised, self::spare())).unwrap();
    drop(_promise);
    asked.recv_timeout(Duration::from_secs(60)).unwrap();
    (layer, go)
}

#[test]
fn no_worker_waits_for_the_network() {
    let pool = Pool::new(1).unwrap();
    let waiting: Vec<_> = (0..3).map(|_| stalled(&pool)).collect();
    // The only worker is free for others.
    let mut other = Layer::new(&pool, None);
    other.extractor.stream(Layer::tar("f").into()).unwrap();
    other.extractor.finish().unwrap();
    for (layer, go) in waiting {
        go.send(()).unwrap();
        // What comes after the piece that was fetched goes on.
        let error = layer.extractor.finish().unwrap_err();
        assert!(matches!(&error, AssembleError::Panicked { path, .. } if path == "g"), "{error}");
        // The layer has failed, and does not wait for the thread that fetches; that finishes what it has begun.
        let began = Instant::now();
        while std::fs::read(layer.root.path().join("f")).unwrap() != CONTENT {
            assert!(began.elapsed() < Duration::from_secs(60), "what was fetched is written");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_pull_that_is_given_up_waits_for_nothing() {
    let pool = Pool::new(1).unwrap();
    let began = Instant::now();
    // For the network.
    let (layer, go) = stalled(&pool);
    drop(layer.extractor.cancel_on_drop());
    assert!(layer.extractor.finish().is_err());
    drop(go);
    // For another layer.
    let (promise, promised) = promise();
    let mut layer = Layer::new(&pool, None);
    layer.file("f", |e| e.promised(CONTENT.len() as u64, digest(), &promised, spare())).unwrap();
    drop(layer.extractor.cancel_on_drop());
    let error = layer.extractor.finish().unwrap_err();
    assert!(matches!(error, AssembleError::Cancelled), "{error}");
    drop(promise);
    // For the end of a long list of entries.
    let mut layer = Layer::new(&pool, None);
    layer.extractor.stream(Layer::tar("f").into()).unwrap();
    drop(layer.extractor.cancel_on_drop());
    let error = layer.extractor.stream(Layer::tar("g").into()).unwrap_err();
    assert!(matches!(error, AssembleError::Cancelled), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
}

/// Holds up the worker that asks first until it is told to go on. Knows nothing.
#[derive(Debug)]
struct Gate {
    asked: Sender<()>,
    go: Mutex<Receiver<()>>,
}

impl Known for Gate {
    fn find(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Donor>> {
        let _ = self.asked.send(());
        let _ = self.go.lock().unwrap().recv();
        wanted.iter().map(|_| None).collect()
    }
}

/// Files of the layer whose work fills the queue: thousands of units of 96 jobs.
const MANY: usize = 200_000;

#[test]
fn a_small_layer_does_not_wait_behind_another_registrys_thousands_of_units() {
    let pool = Pool::new(1).unwrap();
    let ((asked, told), (go, wait)) = (channel(), channel());
    let gate = Gate { asked, go: Mutex::new(wait) };
    // Empty files, and one with content, which asks the gate.
    let mut large = Layer::of("one", &pool, Some(Arc::new(gate)));
    large.extractor.stream(Layer::tar("first").into()).unwrap();
    large.extractor.hand_on().unwrap();
    told.recv_timeout(Duration::from_secs(60)).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    for n in 0..MANY {
        header.set_path(format!("d{}/f{n}", n % 100)).unwrap();
        header.set_cksum();
        large.extractor.stream(header.as_bytes().to_vec().into()).unwrap();
    }
    large.extractor.hand_on().unwrap();
    // What both have queued begins now. The small layer comes and waits for workers several times, as every layer does.
    let mut small = Layer::of("another", &pool, None);
    small.extractor.stream(Layer::tar("f").into()).unwrap();
    drop(go);
    small.extractor.finish().unwrap();
    let made: usize =
        std::fs::read_dir(large.root.path()).unwrap().map(|dir| names(&dir.unwrap().path())).sum();
    assert!(made < MANY / 2, "{made} files of the other registry's layer were made before the small layer");
    drop(large.extractor.cancel_on_drop());
    large.extractor.finish().unwrap_err();
}

fn names(dir: &std::path::Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}
