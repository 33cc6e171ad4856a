//! User-namespace labels: `containerd.io/snapshot/uidmapping` and `.../gidmapping`, value
//! `container:host:length`, several separated by commas (containerd.md §4).

use std::collections::HashMap;

use chunked_store::{Labels, Store, StoreError};

use crate::key::Key;

const UID: &str = "containerd.io/snapshot/uidmapping";
const GID: &str = "containerd.io/snapshot/gidmapping";
/// Marks a copy of an image whose files containerd has given to the mapped owners. No request can set it: containerd passes on
/// labels of its own prefix only.
const COPY: &str = "io.github.chunked-snapshotter.owners-mapped";
/// What containerd puts behind a copy's name while it makes it (containerd, snapshotter_opts_unix.go).
const MAKING: &str = "-remap";

/// A label whose value is no mapping.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("label {label}: {value:?} is not container:host:length")]
pub(crate) struct IdMapError {
    label: &'static str,
    value: String,
}

/// Host owner of the container's root, for the fresh upper directory. `None` without both labels, and for
/// extractions: there the labels come from layer annotations, so from the image's author.
pub(crate) fn owner(key: &str, labels: &HashMap<String, String>) -> Result<Option<(u32, u32)>, IdMapError> {
    if Key::parse(key).is_extraction() {
        return Ok(None);
    }
    let (Some(uid), Some(gid)) = (labels.get(UID), labels.get(GID)) else { return Ok(None) };
    let root = |label, value: &String| mapped_root(value).ok_or(IdMapError { label, value: value.clone() });
    Ok(Some((root(UID, uid)?, root(GID, gid)?)))
}

/// Marks what is committed under `name` if it is such a copy. containerd makes one where its configuration does not give us the
/// capability `remap-ids`.
pub(crate) fn mark_copy(labels: &mut Labels, key: &str, name: &str) {
    if Key::parse(key).client.strip_suffix(MAKING) == Some(Key::parse(name).client) {
        labels.insert(COPY.to_owned(), "true".to_owned());
    }
}

/// Takes the mapping off a snapshot of a copy, whose owners are mapped already: containerd labels it all the same.
pub(crate) fn leave_copy(store: &Store, parent: Option<&str>, labels: &mut Labels) -> Result<(), StoreError> {
    let mapped = labels.contains_key(UID) || labels.contains_key(GID);
    let Some(parent) = parent.filter(|_| mapped) else { return Ok(()) };
    if store.committed_parent(parent)?.labels.contains_key(COPY) {
        labels.retain(|label, _| label != UID && label != GID);
    }
    Ok(())
}

/// Mount options that make containerd 2.x map the layers' owners. 1.x passes them to the kernel, which does not know them.
pub(crate) fn options(key: &str, labels: &Labels) -> Vec<String> {
    if Key::parse(key).is_extraction() {
        return Vec::new();
    }
    let option = |name, label| labels.get(label).map(|value| format!("{name}={value}"));
    [option("uidmap", UID), option("gidmap", GID)].into_iter().flatten().collect()
}

/// The host id that id 0 becomes.
fn mapped_root(value: &str) -> Option<u32> {
    let mut root = None;
    for mapping in value.split(',') {
        let mut numbers = mapping.split(':').map(str::parse::<u32>);
        let (container, host, length) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        if numbers.next().is_some() || length == 0 {
            return None;
        }
        if container == 0 {
            root = Some(host);
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_of_mappings() {
        assert_eq!(mapped_root("0:100000:65536"), Some(100_000));
        assert_eq!(mapped_root("1:5:1,0:7:1"), Some(7));
        for bad in ["", "0", "0:1", "0:1:0", "0:1:2:3", "a:b:c", "1:5:10", "0:-1:5", "0:1:2,"] {
            assert_eq!(mapped_root(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn images_cannot_choose_owners() {
        let labels: HashMap<String, String> =
            [(UID, "0:5:1"), (GID, "0:6:1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(owner("ns/1/pod", &labels), Ok(Some((5, 6))));
        assert_eq!(owner("ns/1/extract-1-a sha256:x", &labels), Ok(None));
        let kept: Labels = labels.into_iter().collect();
        assert_eq!(options("ns/1/pod", &kept), ["uidmap=0:5:1", "gidmap=0:6:1"]);
        assert!(options("ns/1/extract-1-a sha256:x", &kept).is_empty());
    }
}
