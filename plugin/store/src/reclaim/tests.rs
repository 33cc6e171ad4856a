use std::path::Path;
use std::time::Duration;

use super::*;
use crate::testing::{Temporary, adopt, layer_with};

/// A layer with a file of its own, and hard links to files below `from`.
fn linked(store: &Store, name: &str, from: &Path, files: &[&str]) -> crate::LayerPin {
    layer_with(store, name, &[], |fs| {
        std::fs::write(fs.join("own"), vec![7; 100_000]).unwrap();
        for file in files {
            std::fs::hard_link(from.join(file), fs.join(file)).unwrap();
        }
    })
}

fn blocks(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().unwrap().blocks() * 512
}

#[test]
fn an_inode_goes_with_its_last_name() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let first = layer_with(&store, "first", &[], |fs| {
        for file in ["a", "b", "c"] {
            std::fs::write(fs.join(file), vec![1; 200_000]).unwrap();
        }
        std::fs::hard_link(fs.join("c"), fs.join("c2")).unwrap();
    });
    let second = linked(&store, "second", &first.fs(), &["a", "b"]);
    let used = linked(&store, "used", &first.fs(), &["b"]);
    adopt(&store, &used, "used", None);
    let (one, two) = (first.fs().parent().unwrap().to_owned(), second.fs().parent().unwrap().to_owned());
    let big = blocks(&first.fs().join("a"));
    drop((first, second));
    let freed = |dirs: &[&PathBuf]| {
        let dirs: Vec<PathBuf> = dirs.iter().map(|dir| (*dir).clone()).collect();
        store.inner.freed_by(&dirs).unwrap()
    };
    let (of_one, of_two, of_both) = (freed(&[&one]), freed(&[&two]), freed(&[&one, &two]));
    // Alone, the first takes only `c` along; both together take `a`, and `b` stays for the one in use.
    assert_eq!(of_both.bytes, of_one.bytes + of_two.bytes + big);
    assert_eq!(of_both.inodes, of_one.inodes + of_two.inodes + 1);
    assert!((big..2 * big).contains(&of_one.bytes), "{of_one:?}");
    assert_eq!(store.reclaimable().unwrap(), of_both);
    // What waits for deletion counts as well.
    let waiting = temp.dir.path().join("trash/99");
    std::fs::create_dir(&waiting).unwrap();
    assert_eq!(store.reclaimable().unwrap().inodes, of_both.inodes + 1);
    store.prune(crate::Prune::All).unwrap();
    assert_eq!(store.reclaimable().unwrap(), Usage::default());
}
