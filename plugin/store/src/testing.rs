//! Stores and layers for tests.

use std::path::Path;
use std::time::Duration;

use chunked_core::{Digest, chain_id};
use tempfile::TempDir;

use crate::{
    Adoption, Flavour, Keep, Kind, Labels, LayerPin, NewFile, NewLayer, NewSnapshot, Problem, Snapshot,
    Store, StoreOptions, Usage, Verified, VerifyOptions, Watch,
};

/// A store below a temporary directory, that can be closed and opened again.
pub(crate) struct Temporary {
    pub(crate) dir: TempDir,
}

impl Temporary {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn open(&self) -> Store {
        self.open_with(Duration::ZERO)
    }

    pub(crate) fn open_with(&self, unused_grace: Duration) -> Store {
        self.open_keeping(Keep { min_age: unused_grace, bytes: 0, inodes: 0, free_percent: 0 })
    }

    pub(crate) fn open_keeping(&self, keep: Keep) -> Store {
        Store::open_with(self.dir.path(), StoreOptions { keep, sync: false }).unwrap()
    }
}

/// Text of a layer's `usr/bin/tool`, the only file worth finding again.
pub(crate) fn content(name: &str) -> Vec<u8> {
    format!("content of {name}\n").into_bytes()
}

/// What each of these layers occupies.
pub(crate) fn size_of_a_layer() -> Usage {
    let temp = Temporary::new();
    let store = temp.open();
    let _pin = layer(&store, "any", &[]);
    store.layers().unwrap()[0].own
}

/// A layer without whiteouts, whose DiffID is the digest of `name`; with these implied directories.
pub(crate) fn layer(store: &Store, name: &str, implied: &[&str]) -> LayerPin {
    layer_with(store, name, implied, |_| ())
}

pub(crate) fn layer_with(store: &Store, name: &str, implied: &[&str], fill: impl FnOnce(&Path)) -> LayerPin {
    commit(store, name, implied, &[("usr/bin/tool", content(name))], fill)
}

/// A layer of files at these paths, each with its path as content.
pub(crate) fn layer_of(store: &Store, name: &str, paths: &[&str]) -> LayerPin {
    let files: Vec<_> = paths.iter().map(|path| (*path, content(path))).collect();
    commit(store, name, &[], &files, |_| ())
}

fn commit(
    store: &Store,
    name: &str,
    implied: &[&str],
    files: &[(&str, Vec<u8>)],
    fill: impl FnOnce(&Path),
) -> LayerPin {
    let staging = store.stage().unwrap();
    for dir in implied {
        std::fs::create_dir_all(staging.fs().join(dir)).unwrap();
    }
    for (path, text) in files {
        let path = staging.fs().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    fill(staging.fs());
    let listed = files.iter().map(|(path, text)| NewFile {
        path: path.as_bytes().to_vec(),
        digest: Digest::of(text),
        size: text.len() as u64,
        proven: true,
    });
    let new = NewLayer {
        diff_id: Digest::of(name.as_bytes()),
        flavour: Flavour::Upper,
        has_whiteouts: false,
        implied: implied.iter().map(|path| path.as_bytes().to_vec()).collect(),
        shared: Usage::default(),
        files: listed.collect(),
        chunks: Some(Vec::new()),
        origin: None,
    };
    store.commit_layer(staging, new).unwrap()
}

pub(crate) fn adopt(store: &Store, layer: &LayerPin, name: &str, parent: Option<&Snapshot>) -> Snapshot {
    let below = parent.map(|parent| parent.labels[chunked_core::labels::SNAPSHOT_REF].parse().unwrap());
    let target = chain_id(below.as_ref(), &Digest::of(name.as_bytes())).to_string();
    let parent = parent.map(|parent| parent.name.as_str());
    store.adopt(layer, &Adoption { target: &target, parent, labels: &Labels::new() }).unwrap()
}

pub(crate) fn create(
    store: &Store,
    kind: Kind,
    name: &str,
    parent: Option<&str>,
) -> Result<crate::Mountable, crate::StoreError> {
    store.create(&NewSnapshot { name, kind, parent, labels: &Labels::new(), owner: None })
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Remembers the problems of a verification.
#[derive(Default)]
pub(crate) struct Seen(pub(crate) Vec<Problem>);

impl Watch for Seen {
    fn progress(&mut self, _: &Verified) -> bool {
        true
    }

    fn problem(&mut self, problem: &Problem) -> bool {
        self.0.push(problem.clone());
        true
    }
}

/// How much is wrong with the store.
pub(crate) fn problems(store: &Store) -> u64 {
    store.verify(VerifyOptions { contents: true, repair: false }, &mut Seen::default()).unwrap().problems
}
