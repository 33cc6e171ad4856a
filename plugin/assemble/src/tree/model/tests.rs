use super::*;

fn tree(entries: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    for (path, kind) in entries {
        let mut components = tree.resolve(path.as_bytes(), false).unwrap();
        let name = components.pop().unwrap();
        let parent = tree.ensure_dir(&components, &mut Vec::new()).unwrap();
        let node = match kind.strip_prefix("->") {
            Some(target) => Node::Symlink(target.as_bytes().to_vec()),
            None if *kind == "dir" => Node::Directory(Directory::described()),
            None => Node::Leaf(Leaf::File),
        };
        tree.insert(parent, &name, node).unwrap();
    }
    tree
}

fn resolved(tree: &Tree, name: &str, follow: bool) -> Result<String, TreeError> {
    let parts = tree.resolve(name.as_bytes(), follow)?;
    Ok(String::from_utf8(crate::tree::path::join(parts.iter().map(Vec::as_slice))).unwrap())
}

#[test]
fn symlinks_stay_in_the_root() {
    let tree = tree(&[
        ("usr/lib", "dir"),
        ("lib", "->usr/lib"),
        ("abs", "->/usr/lib"),
        ("up", "->../../../../usr"),
        ("usr/back", "->../lib/x"),
        ("loop", "->loop"),
        ("dangling", "->nowhere/at/all"),
        ("file", "file"),
    ]);
    for (name, follow, expected) in [
        ("lib/libc.so", false, "usr/lib/libc.so"),
        ("lib", false, "lib"),
        ("lib", true, "usr/lib"),
        ("abs/../x", false, "usr/x"),
        ("up/lib/a", false, "usr/lib/a"),
        ("usr/back/y", false, "usr/lib/x/y"),
        ("dangling/f", false, "nowhere/at/all/f"),
        ("../../lib/f", false, "usr/lib/f"),
    ] {
        assert_eq!(resolved(&tree, name, follow).as_deref(), Ok(expected), "{name}");
    }
    assert_eq!(resolved(&tree, "loop/x", false), Err(TreeError::Loop));
    assert_eq!(resolved(&tree, &"n".repeat(256), false), Err(TreeError::Name));
}

#[test]
fn implied_directories_are_told_apart() {
    let mut tree = tree(&[("a", "dir")]);
    let mut created = Vec::new();
    let components: Vec<Vec<u8>> = vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
    let id = tree.ensure_dir(&components, &mut created).unwrap();
    assert_eq!(tree.path(id), b"a/b/c");
    assert_eq!(created.len(), 2);
    let a = tree.find(&components[..1]).unwrap();
    assert_eq!(tree.nodes().len(), 3);
    tree.remove_implied(a);
    assert_eq!(tree.nodes(), [a]);
}

#[test]
fn a_file_is_no_parent() {
    let mut tree = tree(&[("f", "file")]);
    assert_eq!(tree.ensure_dir(&[b"f".to_vec()], &mut Vec::new()), Err(TreeError::NotADirectory));
}
