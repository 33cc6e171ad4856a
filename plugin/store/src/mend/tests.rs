use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use super::*;
use crate::testing::{Seen, Temporary, adopt, content, layer_with};
use crate::{Flavour, Problem, Store, VerifyOptions};

/// The layer as its tar describes it: times, too.
fn layer(store: &Store, name: &str, implied: &[&str]) -> LayerPin {
    layer_with(store, name, implied, |fs| {
        let file = std::fs::File::options().write(true).open(fs.join("usr/bin/tool")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    })
}

/// Makes a layer of these names anew, if `able`, and remembers what it was asked.
struct Maker<'a> {
    store: &'a Store,
    able: bool,
    asked: HashMap<Digest, DamagedLayer>,
}

impl Repairer for Maker<'_> {
    fn pull_again(&mut self, damaged: &DamagedLayer) -> Result<LayerPin, String> {
        self.asked.insert(damaged.diff_id, damaged.clone());
        let diff_id = Digest::of(b"used");
        assert!(self.store.layer(&diff_id, Flavour::Upper).unwrap().is_none(), "nobody gets a damaged one");
        assert_eq!(self.store.partials(&diff_id).len(), 1, "what is right of it can be used");
        if self.able { Ok(layer(self.store, "used", &[])) } else { Err("its registry is gone".to_owned()) }
    }
}

fn repair(store: &Store, able: bool) -> (Vec<Problem>, Option<DamagedLayer>) {
    let (mut seen, mut maker) = (Seen::default(), Maker { store, able, asked: HashMap::new() });
    let options = VerifyOptions { contents: true, repair: true };
    store.verify_with(options, &mut seen, Some(&mut maker)).unwrap();
    (seen.0, maker.asked.into_values().next())
}

fn damage(pin: &LayerPin) -> std::path::PathBuf {
    let file = pin.fs().join("usr/bin/tool");
    let text = String::from_utf8(std::fs::read(&file).unwrap()).unwrap();
    std::fs::write(&file, text.to_uppercase()).unwrap();
    file
}

#[test]
fn a_damaged_layer_in_use_is_mended_in_place() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let pin = layer(&store, "used", &[]);
    let target = Digest::of(b"used").to_string();
    adopt(&store, &pin, "used", None);
    let (id, fs, file) = (pin.id(), pin.fs(), damage(&pin));
    let (open, directory) = (std::fs::File::open(&file).unwrap(), fs.join("usr/bin"));
    let modified = directory.metadata().unwrap().modified().unwrap();
    drop(pin);
    let (problems, asked) = repair(&store, true);
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(problem.repaired && problem.text.contains("1 files were put in place"), "{problem:?}");
    assert_eq!(asked.unwrap().chains, [target.parse().unwrap()]);
    assert_eq!(std::fs::read(&file).unwrap(), content("used"));
    assert_ne!(open.metadata().unwrap().ino(), file.metadata().unwrap().ino(), "who has it open keeps it");
    assert_eq!(directory.metadata().unwrap().modified().unwrap(), modified);
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 1, "nothing is left beside it");
    assert_eq!(store.layer(&Digest::of(b"used"), Flavour::Upper).unwrap().unwrap().id(), id);
    assert_eq!(store.layers().unwrap().len(), 1, "the layer pulled again is gone");
    assert!(store.partials(&Digest::of(b"used")).is_empty());
    let text = content("used");
    assert!(store.lookup(&[(Digest::of(&text), text.len() as u64)])[0].is_some(), "it is a donor again");
    assert_eq!(repair(&store, true), (Vec::new(), None));
}

#[test]
fn what_cannot_be_pulled_again_is_out_of_look_ups() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let pin = layer(&store, "used", &[]);
    adopt(&store, &pin, "used", None);
    damage(&pin);
    drop(pin);
    let (problems, _) = repair(&store, false);
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(!problem.repaired && problem.text.contains("its registry is gone"), "{problem:?}");
    assert!(store.layer(&Digest::of(b"used"), Flavour::Upper).unwrap().is_none());
    // Later its registry is there again.
    let (problems, _) = repair(&store, true);
    assert!(problems.len() == 1 && problems[0].repaired, "{problems:?}");
    assert!(store.layer(&Digest::of(b"used"), Flavour::Upper).unwrap().is_some());
    let target = Digest::of(b"used").to_string();
    assert!(store.adopted(&target, None).unwrap().is_some(), "its snapshot serves again, too");
    assert_eq!(repair(&store, true), (Vec::new(), None));
    drop(store);
    let store = temp.open_with(Duration::MAX);
    assert!(store.layer(&Digest::of(b"used"), Flavour::Upper).unwrap().is_some());
}

/// A daemon that dies while a layer is mended leaves a damaged layer, not one that somebody gets.
#[test]
fn an_unfinished_repair_is_no_repair() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let pin = layer(&store, "used", &[]);
    adopt(&store, &pin, "used", None);
    let id = pin.id().get();
    drop(pin);
    store.inner.suspend(id, &Digest::of(b"used")).unwrap();
    drop(store);
    let store = temp.open_with(Duration::MAX);
    assert!(store.layer(&Digest::of(b"used"), Flavour::Upper).unwrap().is_none());
}
