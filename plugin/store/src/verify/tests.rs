use std::path::Path;
use std::time::Duration;

use chunked_core::Digest;

use super::rows::MAKING;
use super::*;
use crate::testing::{Seen, Temporary, adopt, content, create, layer, layer_of};
use crate::{Flavour, Kind, Labels};

fn verify(store: &Store, contents: bool, repair: bool) -> (Verified, Vec<Problem>) {
    let mut seen = Seen::default();
    let verified = store.verify(VerifyOptions { contents, repair }, &mut seen).unwrap();
    assert_eq!(verified.problems, seen.0.len() as u64);
    assert_eq!(verified.repaired, seen.0.iter().filter(|problem| problem.repaired).count() as u64);
    (verified, seen.0)
}

#[test]
fn a_sound_store_has_no_problems() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let one = adopt(&store, &layer(&store, "one", &[]), "one", None);
    layer(&store, "unused", &[]);
    create(&store, Kind::Active, "c", Some(&one.name)).unwrap();
    store.commit("committed", "c", &Labels::new(), None).unwrap();
    let (verified, problems) = verify(&store, true, false);
    assert_eq!(problems, []);
    let bytes = (content("one").len() + content("unused").len()) as u64;
    assert_eq!(verified, Verified { layers: 2, files: 2, bytes, ..Verified::default() });
    store.complete_index().unwrap();
    assert_eq!(verify(&store, false, false).0.layers, 3);
}

/// Changes a file as a disk does it: nothing else changes.
fn rot(file: &Path) {
    let text = String::from_utf8(std::fs::read(file).unwrap()).unwrap();
    let time = std::fs::symlink_metadata(file).unwrap().modified().unwrap();
    std::fs::write(file, text.to_uppercase()).unwrap();
    std::fs::File::open(file).unwrap().set_modified(time).unwrap();
}

#[test]
fn every_damaged_file_is_named() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let names: Vec<String> = (0..130).map(|n| format!("srv/f{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let pin = layer_of(&store, "many", &names);
    adopt(&store, &pin, "many", None);
    let damaged = |from: usize, to: usize| {
        names[from..to].iter().for_each(|name| rot(&pin.fs().join(name)));
        let (_, problems) = verify(&store, true, false);
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        names.iter().map(|name| problem.text.contains(name)).collect::<Vec<bool>>()
    };
    let named = damaged(7, 27);
    assert!((0..130).all(|n| named[n] == (7..27).contains(&n)), "{named:?}");
    let (_, problems) = verify(&store, true, false);
    assert!(problems[0].text.contains("19 other files"), "{problems:?}");
    damaged(27, 130);
    let (_, problems) = verify(&store, true, false);
    assert!(
        problems[0].text.contains("122 other files") && problems[0].text.contains("and 22 more"),
        "{problems:?}"
    );
}

#[test]
fn other_bytes_are_found_and_an_unused_layer_goes() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let (used, unused) = (layer(&store, "used", &[]), layer(&store, "unused", &[]));
    adopt(&store, &used, "used", None);
    for pin in [&used, &unused] {
        rot(&pin.fs().join("usr/bin/tool"));
    }
    drop((used, unused));
    assert_eq!(verify(&store, false, false).1, []);
    let (_, problems) = verify(&store, true, false);
    assert_eq!(problems.len(), 2);
    assert!(
        problems.iter().all(|p| p.text.contains("usr/bin/tool") && p.text.contains("digest")),
        "{problems:?}"
    );
    let wanted = |name: &str| [(Digest::of(&content(name)), content(name).len() as u64)];
    assert!(store.lookup(&wanted("used"))[0].is_some());
    let (_, problems) = verify(&store, true, true);
    assert_eq!(problems.iter().map(|p| p.repaired).collect::<Vec<_>>(), [false, true]);
    assert!(store.lookup(&wanted("used"))[0].is_none(), "no donor any more");
    assert!(store.layer(&Digest::of(b"unused"), Flavour::Base).unwrap().is_none());
    assert_eq!(verify(&store, true, false).1.len(), 1, "the used one is reported until it is pulled again");
}

#[test]
fn the_index_is_put_right() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let id = layer(&store, "l", &[]).id().get();
    let db = rusqlite::Connection::open(temp.dir.path().join("index.db")).unwrap();
    db.execute("UPDATE files SET layer = 77", []).unwrap();
    let (_, problems) = verify(&store, false, false);
    assert_eq!(problems.iter().map(|p| p.id).collect::<Vec<_>>(), [77, id], "{problems:?}");
    let (_, problems) = verify(&store, false, true);
    assert!(problems.len() == 2 && problems.iter().all(|p| p.repaired), "{problems:?}");
    assert_eq!(verify(&store, false, false).1, []);
    assert!(store.lookup(&[(Digest::of(&content("l")), content("l").len() as u64)])[0].is_some());
}

#[test]
fn missing_directories_and_rows_are_named() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let (used, unused) = (layer(&store, "used", &[]), layer(&store, "unused", &[]));
    let snapshot = adopt(&store, &used, "used", None);
    for pin in [&used, &unused] {
        std::fs::remove_dir_all(pin.fs().parent().unwrap()).unwrap();
    }
    drop((used, unused));
    let stranger = temp.dir.path().join("snapshots/9999");
    std::fs::create_dir(&stranger).unwrap();
    assert!(!verify(&store, false, false).1.iter().any(|p| p.id == 9999), "it may be one that is being made");
    let old = std::time::SystemTime::now() - 2 * MAKING;
    std::fs::File::open(&stranger).unwrap().set_modified(old).unwrap();
    store.inner.unburied.lock().insert(9999);
    assert!(!verify(&store, false, false).1.iter().any(|p| p.id == 9999), "the next cleanup takes it");
    store.inner.unburied.lock().clear();
    let (_, problems) = verify(&store, false, true);
    let text = |p: &Problem| format!("{} {} {}", p.what, p.text, p.repaired);
    let all: Vec<String> = problems.iter().map(text).collect();
    assert!(
        all.iter().any(|p| p.starts_with(&snapshot.name) && p.contains("directory is missing")),
        "{all:?}"
    );
    assert!(all.iter().any(|p| p.contains("without a row")), "{all:?}");
    assert!(all.iter().any(|p| p.ends_with("its row is gone now true")), "{all:?}");
    assert_eq!(all.len(), 4, "{all:?}");
}

#[test]
fn changed_metadata_is_damage_and_what_adoption_does_is_not() {
    use std::os::unix::fs::PermissionsExt;
    let temp = Temporary::new();
    let mut store = temp.open_with(Duration::MAX);
    // With implied directories, once settled in place and once in a twin.
    let base = [("one", 0o700), ("two", 0o711)].map(|(name, mode)| {
        let pin = crate::testing::layer_with(&store, name, &[], |fs| {
            std::fs::create_dir_all(fs.join("opt/x")).unwrap();
            std::fs::set_permissions(fs.join("opt"), std::fs::Permissions::from_mode(mode)).unwrap();
        });
        adopt(&store, &pin, name, None)
    });
    let above = layer(&store, "above", &["opt", "opt/x"]);
    adopt(&store, &above, "above", Some(&base[0]));
    adopt(&store, &above, "above", Some(&base[1]));
    assert_eq!(store.layers().unwrap().len(), 4, "a twin was made");
    assert_eq!(verify(&store, true, false).1, []);
    // One inode of two trees.
    let tool = above.fs().join("usr/bin/tool");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let (_, problems) = verify(&store, false, false);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.text.contains("modes, owners, times")), "{problems:?}");
    // Rows that are written again from markers know it, too.
    drop((above, store));
    let db = rusqlite::Connection::open(temp.dir.path().join("state.db")).unwrap();
    db.execute_batch("DELETE FROM snapshots; DELETE FROM layers").unwrap();
    drop(db);
    store = temp.open_with(Duration::MAX);
    assert_eq!(verify(&store, false, false).1.len(), 1, "one of the twins is taken in again");
}
