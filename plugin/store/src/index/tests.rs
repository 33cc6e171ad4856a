use std::time::{Duration, Instant};

use std::sync::Arc;

use chunked_core::Digest;

use super::*;
use crate::layer::{NewChunk, NewFile};
use crate::list;
use crate::origins::{Allowed, Origins};

struct Bench {
    layout: Layout,
    index: Index,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let index = Index::open(&layout.root().join("index.db"));
        Self { layout, index, _dir: dir }
    }

    fn layer(&self, id: u64, files: &[NewFile], chunks: &[NewChunk]) {
        std::fs::create_dir(self.layout.snapshot(id)).unwrap();
        let entries = list::write(&self.layout.snapshot(id), files, Some(chunks)).unwrap();
        self.index.insert(id, entries);
    }

    fn files(&self, wanted: &[(Digest, u64)], layers: &[u64]) -> Vec<Option<(u64, String)>> {
        let found = self.index.files(&self.layout, wanted, &allowed(layers)).into_iter();
        found.map(|hit| hit.map(|hit| (hit.layer, String::from_utf8(hit.path).unwrap()))).collect()
    }
}

fn allowed(layers: &[u64]) -> Allowed<'static> {
    Allowed { known: Arc::new(layers.iter().map(|id| (*id, Vec::new())).collect()), origins: &Origins::Any }
}

fn digest(n: u32) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn file(n: u32, path: &str) -> NewFile {
    NewFile { path: path.as_bytes().to_vec(), digest: digest(n), size: u64::from(n), proven: true }
}

#[test]
fn hits_are_exact_and_only_in_allowed_layers() {
    let bench = Bench::new();
    bench.layer(1, &[file(5, "a"), file(5, "b"), file(6, "c")], &[]);
    bench.layer(2, &[file(5, "z")], &[]);
    let wanted = [(digest(5), 5), (digest(5), 6), (digest(5), u64::MAX), (Digest::of(b"other"), 5)];
    assert_eq!(bench.files(&wanted, &[1, 2]), [Some((1, "a".to_owned())), None, None, None]);
    assert_eq!(bench.files(&wanted[..1], &[2]), [Some((2, "z".to_owned()))]);
    assert_eq!(bench.files(&wanted[..1], &[]), [None]);
    assert_eq!(bench.files(&[], &[1, 2]), []);
    assert_eq!(bench.index.len(), (4, 0));
    bench.index.remove(2, &bench.layout.snapshot(2));
    assert_eq!(bench.files(&wanted[..1], &[2]), [None]);
    bench.index.remove(1, Path::new("/nowhere"));
    assert_eq!(bench.files(&wanted[..1], &[1]), [None]);
    assert_eq!(bench.index.len(), (0, 0));
}

/// As after a removal that a full disk prevented, when the list was written anew meanwhile.
#[test]
fn a_layer_that_comes_again_leaves_none_of_its_old_rows() {
    let bench = Bench::new();
    bench.layer(1, &[file(5, "a"), file(6, "b"), file(7, "c")], &[]);
    std::fs::remove_dir_all(bench.layout.snapshot(1)).unwrap();
    bench.layer(1, &[file(8, "d"), file(5, "a")], &[]);
    assert_eq!(bench.files(&[(digest(5), 5), (digest(6), 6)], &[1]), [Some((1, "a".to_owned())), None]);
    bench.index.remove(1, &bench.layout.snapshot(1));
    assert!(bench.index.strays().is_empty(), "{:?}", bench.index.strays());
}

#[test]
fn a_content_wanted_often_gives_different_files() {
    let bench = Bench::new();
    bench.layer(1, &[file(5, "a"), file(5, "b"), file(6, "c")], &[]);
    bench.layer(2, &[file(5, "z")], &[]);
    let wanted = [(digest(5), 5), (digest(6), 6), (digest(5), 5), (digest(5), 5), (digest(5), 5)];
    let found = bench.files(&wanted, &[1, 2]);
    let mut fives: Vec<_> = [0, 2, 3].iter().map(|n| found[*n].clone().unwrap()).collect();
    fives.sort();
    assert_eq!(fives, [(1, "a".to_owned()), (1, "b".to_owned()), (2, "z".to_owned())]);
    assert!(found[4].is_some() && found[1] == Some((1, "c".to_owned())));
}

#[test]
fn chunks_are_another_key_space() {
    let bench = Bench::new();
    let chunk = |n: u32, offset| NewChunk {
        digest: digest(n),
        size: u64::from(n),
        path: b"big".to_vec(),
        offset,
        proven: true,
    };
    bench.layer(3, &[file(5, "small"), file(100, "big")], &[chunk(60, 0), chunk(40, 60), chunk(5, 100)]);
    let allowed = allowed(&[3]);
    let wanted = [(digest(40), 40), (digest(40), 41), (digest(100), 100), (digest(5), 5)];
    let found = bench.index.chunks(&bench.layout, &wanted, &allowed);
    let hit = |offset| Some((Hit { layer: 3, path: b"big".to_vec(), proven: true }, offset));
    assert_eq!(found, [hit(60), None, None, hit(100)]);
    assert_eq!(bench.files(&wanted, &[3])[..2], [None, None]);
    assert_eq!(bench.index.len(), (2, 3));
    bench.index.remove(3, &bench.layout.snapshot(3));
    assert_eq!(bench.index.chunks(&bench.layout, &wanted[..1], &allowed), [None]);
}

#[test]
fn a_record_that_says_something_else_is_no_hit() {
    let bench = Bench::new();
    bench.layer(1, &[file(5, "a")], &[]);
    let list = bench.layout.snapshot(1).join(list::NAME);
    let good = std::fs::read(&list).unwrap();
    for position in 25..25 + 40 {
        let mut bad = good.clone();
        bad[position] ^= 1;
        std::fs::write(&list, bad).unwrap();
        assert_eq!(bench.files(&[(digest(5), 5)], &[1]), [None], "flipped byte {position}");
    }
    std::fs::remove_file(&list).unwrap();
    assert_eq!(bench.files(&[(digest(5), 5)], &[1]), [None]);
}

#[test]
fn fifty_thousand_look_ups_take_well_under_a_second() {
    let bench = Bench::new();
    let files: Vec<NewFile> =
        (0..50_000).map(|n| file(n, &format!("usr/share/some/directory/{n}"))).collect();
    for layer in 0..4 {
        bench.layer(layer, &files, &[]);
    }
    let wanted: Vec<(Digest, u64)> = files.iter().map(|file| (file.digest, file.size)).collect();
    let started = Instant::now();
    assert!(bench.files(&wanted, &[3]).iter().all(Option::is_some));
    // Some 0.2 s on the slowest machine seen; the bound leaves room for a busy one.
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn what_somebody_proved_comes_first_and_lies_are_forgotten_alone() {
    let bench = Bench::new();
    let unproven = |n, path| NewFile { proven: false, ..file(n, path) };
    let chunk = |n: u32, path: &str, proven| NewChunk {
        digest: digest(n),
        size: u64::from(n),
        path: path.as_bytes().to_vec(),
        offset: 0,
        proven,
    };
    let of_liar = [file(4, "right"), unproven(5, "lie"), unproven(6, "other")];
    bench.layer(1, &of_liar, &[chunk(3, "lie", true), chunk(2, "right", false)]);
    bench.layer(2, &[file(5, "z")], &[]);
    bench.layer(3, &[unproven(5, "later")], &[]);
    let five = [(digest(5), 5)];
    assert_eq!(bench.files(&five, &[1, 2, 3]), [Some((2, "z".to_owned()))]);
    assert_eq!(bench.files(&five, &[1, 3]), [Some((1, "lie".to_owned()))]);
    let found = bench.index.files(&bench.layout, &[five[0], (digest(4), 4)], &allowed(&[1]));
    assert_eq!(found.iter().flatten().map(|hit| hit.proven).collect::<Vec<_>>(), [false, true]);
    // Wanted three times: the proven one, then the others.
    let thrice = bench.files(&[five[0]; 3], &[1, 2, 3]);
    assert_eq!(thrice[0], Some((2, "z".to_owned())));
    assert!(thrice.contains(&Some((1, "lie".to_owned()))) && thrice.contains(&Some((3, "later".to_owned()))));

    assert!(!bench.index.layers()[&1], "something of it is to be read");
    let list = List::read(&bench.layout.snapshot(1)).unwrap();
    let mut unproven = list.entries();
    unproven.files.retain(|entry| entry.unproven);
    unproven.chunks.retain(|entry| entry.unproven);
    bench.index.forget(1, unproven);
    let wanted = [(digest(4), 4), five[0], (digest(6), 6)];
    assert_eq!(bench.files(&wanted, &[1]), [Some((1, "right".to_owned())), None, None]);
    let chunks = bench.index.chunks(&bench.layout, &[(digest(3), 3), (digest(2), 2)], &allowed(&[1]));
    assert!(chunks[0].is_some() && chunks[1].is_none(), "what was hashed stays");
    assert_eq!(bench.files(&five, &[1, 2, 3]), [Some((2, "z".to_owned()))], "others are believed as before");
    assert_eq!(bench.index.lacking(1, list.entries()), 0, "nobody misses a lie");
    assert!(!bench.index.layers()[&1], "it is still to be read");
}

#[test]
fn an_older_index_is_emptied() {
    let bench = Bench::new();
    bench.layer(1, &[file(5, "a")], &[]);
    let path = bench.layout.root().join("index.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert_eq!(Index::open(&path).len(), (0, 0));
}
