//! Metadata of an inode: what hard-link entries make of it, and when two are the same. Pure: no I/O.
//!
//! containerd's unpack gives the inode the metadata of each link entry in turn: the last one wins, attributes add up.
//! Its chown(2), even to the same owner, also takes the capabilities away. We give them back, unless a link entry has
//! others: docker and podman keep them, and `ping` works under each of its names.

use std::collections::{HashMap, HashSet};

use chunked_core::{Entry, Xattr};
use chunked_linux::Metadata;

use crate::tree::metadata::changed;

/// The metadata that the link entries of one inode leave.
#[derive(Debug)]
pub(crate) struct Relinked {
    /// Owner, mode and times.
    pub(crate) meta: Metadata,
    /// Attributes that link entries named.
    xattrs: Vec<Xattr>,
}

impl Relinked {
    /// After the first link entry.
    pub(crate) fn new(entry: &Entry) -> Self {
        Self { meta: changed(None, entry), xattrs: entry.xattrs.clone() }
    }

    /// After one more link entry.
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.meta = changed(Some(&self.meta), entry);
        merge(&mut self.xattrs, &entry.xattrs);
    }

    /// All attributes the inode is to have, which had `own` before.
    pub(crate) fn xattrs(&self, own: &[Xattr]) -> Vec<Xattr> {
        let mut all = own.to_vec();
        merge(&mut all, &self.xattrs);
        all
    }
}

/// Adds `more` to `xattrs`, in place of those of the same name.
pub(crate) fn merge(xattrs: &mut Vec<Xattr>, more: &[Xattr]) {
    if more.is_empty() {
        return;
    }
    let names: HashSet<_> = more.iter().map(|xattr| &xattr.name).collect();
    xattrs.retain(|before| !names.contains(&before.name));
    xattrs.extend_from_slice(more);
}

/// Are these the attributes that a file made with `wanted` has? What is set is set in order, and `trusted.*` is not.
pub(crate) fn same_xattrs(wanted: &[Xattr], have: &[Xattr]) -> bool {
    fn value(xattr: &Xattr) -> (&[u8], &[u8]) {
        (&xattr.name, &xattr.value)
    }
    let set = wanted.iter().filter(|xattr| !xattr.name.starts_with(b"trusted."));
    let set: HashMap<_, _> = set.map(value).collect();
    set == have.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use chunked_core::{Kind, Timestamp};

    use super::*;

    fn xattr(name: &str, value: &str) -> Xattr {
        Xattr { name: name.into(), value: value.into() }
    }

    fn entry(mode: u32, xattrs: &[(&str, &str)]) -> Entry {
        Entry {
            path: b"l".to_vec(),
            kind: Kind::HardLink(b"f".to_vec()),
            mode,
            uid: mode,
            gid: 0,
            mtime: Timestamp { seconds: i64::from(mode), nanos: 0 },
            atime: None,
            xattrs: xattrs.iter().map(|(name, value)| xattr(name, value)).collect(),
        }
    }

    #[test]
    fn the_last_link_wins_and_attributes_add_up() {
        let capability = "security.capability";
        let own = [xattr("user.own", "o"), xattr("user.both", "o"), xattr(capability, "o")];
        for (entries, mode, expected) in [
            (vec![entry(1, &[])], 1, vec![("user.own", "o"), ("user.both", "o"), (capability, "o")]),
            (
                vec![entry(1, &[("user.both", "1")]), entry(2, &[("user.new", "2")])],
                2,
                vec![("user.own", "o"), (capability, "o"), ("user.both", "1"), ("user.new", "2")],
            ),
            (
                vec![entry(1, &[(capability, "1")])],
                1,
                vec![("user.own", "o"), ("user.both", "o"), (capability, "1")],
            ),
            (
                vec![entry(1, &[(capability, "1")]), entry(3, &[])],
                3,
                vec![("user.own", "o"), ("user.both", "o"), (capability, "1")],
            ),
        ] {
            let mut entries = entries.iter();
            let mut relinked = Relinked::new(entries.next().unwrap());
            entries.for_each(|entry| relinked.add(entry));
            assert_eq!((relinked.meta.mode, relinked.meta.uid), (mode, mode));
            let expected: Vec<_> = expected.iter().map(|(name, value)| xattr(name, value)).collect();
            assert_eq!(relinked.xattrs(&own), expected);
        }
    }

    #[test]
    fn every_attribute_counts() {
        let xattrs = |all: &[(&str, &str)]| -> Vec<Xattr> {
            all.iter().map(|(name, value)| xattr(name, value)).collect()
        };
        for (wanted, have, same) in [
            (&[][..], &[][..], true),
            (&[("user.a", "1")], &[("user.a", "1")], true),
            (&[("user.a", "1"), ("user.b", "2")], &[("user.b", "2"), ("user.a", "1")], true),
            (&[("user.a", "1"), ("user.a", "2")], &[("user.a", "2")], true),
            (&[("user.a", "1"), ("user.a", "2")], &[("user.a", "1")], false),
            (&[("trusted.a", "1")], &[], true),
            (&[("trusted.a", "1")], &[("trusted.a", "1")], false),
            (&[], &[("user.a", "1")], false),
            (&[("user.a", "1")], &[], false),
            (&[("user.a", "1")], &[("user.a", "2")], false),
            (&[("security.capability", "x")], &[("security.capability", "x")], true),
        ] {
            assert_eq!(same_xattrs(&xattrs(wanted), &xattrs(have)), same, "{wanted:?} {have:?}");
        }
    }
}
