use std::collections::HashSet;

use super::*;

/// So many files, all of which are the same one, and which of them were opened.
#[derive(Debug)]
struct Files {
    count: usize,
    file: std::path::PathBuf,
    opened: Mutex<HashSet<usize>>,
}

impl Upcoming for Files {
    fn count(&self) -> usize {
        self.count
    }

    fn open(&self, number: usize) -> Option<File> {
        assert!(self.opened.lock().insert(number), "{number} twice");
        // Every third comes from elsewhere.
        (!number.is_multiple_of(3)).then(|| File::open(&self.file).unwrap())
    }
}

fn files(dir: &tempfile::TempDir, count: usize) -> Arc<Files> {
    let file = dir.path().join("f");
    std::fs::write(&file, b"content").unwrap();
    Arc::new(Files { count, file, opened: Mutex::default() })
}

fn until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn it_stays_near_the_layers_turn_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(&dir, 3 * AHEAD);
    let ahead = ReadAhead::start(Arc::<Files>::clone(&files));
    let shared = Arc::downgrade(&ahead.0);
    let waits = || shared.upgrade().is_some_and(|shared| shared.state.lock().waiting == THREADS);
    until(waits);
    let opened = files.opened.lock().clone();
    assert!(opened.iter().all(|number| *number < AHEAD + BATCH));
    // What was just written is in memory: of each batch little is opened.
    assert!(opened.len() <= (AHEAD / BATCH + 1) * 2 * (BATCH / STRIDE), "{}", opened.len());
    ahead.turn(AHEAD);
    until(|| files.opened.lock().iter().any(|number| *number >= AHEAD + BATCH));
    until(waits);
    assert!(files.opened.lock().iter().all(|number| *number < 2 * AHEAD + BATCH));
    drop(ahead);
    until(|| shared.strong_count() == 0);
}

#[test]
fn what_had_its_turn_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(&dir, 3 * AHEAD);
    let ahead = ReadAhead::start(Arc::<Files>::clone(&files));
    let shared = Arc::downgrade(&ahead.0);
    until(|| shared.upgrade().is_some_and(|shared| shared.state.lock().waiting == THREADS));
    ahead.turn(3 * AHEAD - 1);
    // Then there is nothing left, and the threads are gone.
    until(|| shared.strong_count() == 1);
    let opened = files.opened.lock();
    assert!(!opened.iter().any(|number| (AHEAD + BATCH..3 * AHEAD - 1).contains(number)), "{opened:?}");
}

#[test]
fn bytes_are_counted_until_their_files_turn() {
    let mut state = State::default();
    state.read.extend([(64, 10), (128, 20), (192, 30)]);
    assert_eq!([0, 64, 127, 128, 500].map(|turn| state.bytes(turn)), [60, 50, 50, 30, 0]);
}
