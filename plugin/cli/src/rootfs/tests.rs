use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;

/// Layers `1`, `2`, … below a directory of their own.
struct Layers(tempfile::TempDir);

impl Layers {
    fn new(directories: &[&str]) -> Self {
        let base = tempfile::tempdir().unwrap();
        for dir in directories {
            fs::create_dir_all(base.path().join(dir)).unwrap();
        }
        Self(base)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn dir(&self, path: &str) -> Dir {
        Dir::open(&self.at(path)).unwrap()
    }
}

fn xattr(name: &str, value: &str) -> Xattr {
    Xattr { name: name.into(), value: value.into() }
}

#[test]
fn upper_layers_win() {
    let layers = Layers::new(&["1/kept", "1/hidden", "1/gone", "2/hidden", "2/kept"]);
    for (file, text) in [
        ("1/kept/a", "a"),
        ("1/hidden/b", "b"),
        ("1/gone/c", "c"),
        ("2/kept/d", "d"),
        ("1/f", "1"),
        ("2/f", "2"),
    ] {
        fs::write(layers.at(file), text).unwrap();
    }
    fs::hard_link(layers.at("2/f"), layers.at("2/kept/g")).unwrap();
    layers.dir("2").create_node(b"gone", NodeType::Char, 0, 0, 0).unwrap();
    layers.dir("2/hidden").set_opaque().unwrap();
    let to = layers.at("to");
    write(&[layers.at("1"), layers.at("2")], &to).unwrap();
    assert!(to.join("kept/a").exists() && to.join("kept/d").exists());
    assert!(!to.join("gone").exists() && !to.join("hidden/b").exists());
    assert!(!layers.dir("to/hidden").is_opaque().unwrap());
    assert_eq!(fs::read(to.join("f")).unwrap(), b"2");
    let ino = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!(ino("f"), ino("kept/g"));
    let refused = write(&[layers.at("1")], &to).unwrap_err();
    assert!(format!("{refused:#}").contains("not empty"), "{refused:#}");
}

#[test]
fn attributes_are_kept_whatever_they_are_of() {
    let layers = Layers::new(&["1/d", "2/d"]);
    let one = layers.dir("1");
    one.create_symlink(b"link", b"/nowhere").unwrap();
    one.create_node(b"fifo", NodeType::Fifo, 0o640, 0, 0).unwrap();
    one.create_node(b"null", NodeType::Char, 0o666, 1, 3).unwrap();
    one.create_file(b"file", 0o4755).unwrap();
    // An attribute that any inode may have without a security module: images' capabilities are of files.
    let any = xattr("security.chunked-test", "here");
    let wanted = Metadata::from(&one.stat(b"fifo").unwrap());
    for (name, symlink) in [(&b"link"[..], true), (b"fifo", false), (b"null", false)] {
        one.set_node_metadata(name, &wanted, std::slice::from_ref(&any), symlink).unwrap();
    }
    chunked_linux::set_xattr_fd(layers.dir("1/d"), &xattr("user.lower", "1")).unwrap();
    chunked_linux::set_xattr_fd(layers.dir("2/d"), &xattr("user.upper", "2")).unwrap();
    write(&[layers.at("1"), layers.at("2")], &layers.at("to")).unwrap();
    let to = layers.dir("to");
    for name in [&b"link"[..], b"fifo", b"null"] {
        assert_eq!(
            to.node_xattrs(name).unwrap(),
            std::slice::from_ref(&any),
            "{}",
            String::from_utf8_lossy(name)
        );
    }
    assert_eq!(xattrs(to.open_dir(b"d").unwrap()).unwrap(), [xattr("user.upper", "2")]);
    let meta = |name: &str| fs::symlink_metadata(layers.at("to").join(name)).unwrap();
    assert_eq!(meta("file").mode() & 0o7777, 0o4755);
    assert!(meta("fifo").file_type().is_fifo() && meta("null").rdev() == 259);
    assert_eq!(fs::read_link(layers.at("to/link")).unwrap(), Path::new("/nowhere"));
}

#[test]
fn the_root_gets_its_mode_last() {
    let layers = Layers::new(&["1", "2", "there"]);
    fs::set_permissions(layers.at("1"), PermissionsExt::from_mode(0o777)).unwrap();
    fs::set_permissions(layers.at("2"), PermissionsExt::from_mode(0o711)).unwrap();
    fs::set_permissions(layers.at("there"), PermissionsExt::from_mode(0o1777)).unwrap();
    let mode = |name: &str| fs::metadata(layers.at(name)).unwrap().mode() & 0o7777;
    write(&[layers.at("1"), layers.at("2")], &layers.at("there")).unwrap();
    assert_eq!(mode("there"), 0o711);
    // A layer that cannot be read leaves what nobody else can enter.
    assert!(write(&[layers.at("1"), layers.at("none")], &layers.at("half")).is_err());
    assert_eq!(mode("half"), 0o700);
    write(&[], &layers.at("empty/image")).unwrap();
    assert_eq!((mode("empty/image"), mode("empty") & 0o022), (0o755, 0));
}

#[test]
fn an_opaque_root_hides_all_lower_layers() {
    let layers = Layers::new(&["1/gone", "2/there", "3/there/too"]);
    layers.dir("2").set_opaque().unwrap();
    write(&[layers.at("1"), layers.at("2"), layers.at("3")], &layers.at("to")).unwrap();
    assert!(layers.at("to/there/too").exists() && !layers.at("to/gone").exists());
    assert!(!layers.dir("to").is_opaque().unwrap());
}
