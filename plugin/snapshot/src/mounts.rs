//! What containerd has to mount (containerd.md §4).

use std::path::Path;

use chunked_proto::containerd::types::Mount;
use chunked_store::{Kind, Mountable};

use crate::idmap;

/// Options of the mounts we return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// For every overlay mount, before ours.
    pub overlay: Vec<String>,
    /// Pass user-namespace labels on as `uidmap=` and `gidmap=`. They arrive whether or not containerd's configuration gives us
    /// the capability `remap-ids`; without it containerd has made a copy first, on which they do not count.
    pub remap_ids: bool,
}

impl Default for MountOptions {
    /// `index=off` where the kernel knows it: layers are shared between mounts.
    #[allow(clippy::disallowed_methods, reason = "a file of the kernel")]
    fn default() -> Self {
        let index = Path::new("/sys/module/overlay/parameters/index").exists();
        Self { overlay: if index { vec!["index=off".to_owned()] } else { Vec::new() }, remap_ids: true }
    }
}

/// The mounts of an active snapshot or a view. Needs no escaping: the store refuses roots that would.
pub(crate) fn mounts(mountable: &Mountable, options: &MountOptions) -> Vec<Mount> {
    let snapshot = &mountable.snapshot;
    let mapped =
        if options.remap_ids { idmap::options(&snapshot.name, &snapshot.labels) } else { Vec::new() };
    let view = snapshot.kind == Kind::View;
    let bind = |source: &Path, access: &str| {
        let options = mapped.iter().cloned().chain([access.to_owned(), "rbind".to_owned()]).collect();
        Mount { r#type: "bind".to_owned(), source: text(source), target: String::new(), options }
    };
    let mount = match mountable.parents.as_slice() {
        [] => bind(&mountable.fs, if view { "ro" } else { "rw" }),
        [parent] if view => bind(parent, "ro"),
        parents => {
            let mut all = mapped;
            all.extend(options.overlay.iter().cloned());
            if !view {
                all.push(format!("workdir={}", mountable.work.display()));
                all.push(format!("upperdir={}", mountable.fs.display()));
            }
            let lower: Vec<String> = parents.iter().map(|path| text(path)).collect();
            all.push(format!("lowerdir={}", lower.join(":")));
            Mount {
                r#type: "overlay".to_owned(),
                source: "overlay".to_owned(),
                target: String::new(),
                options: all,
            }
        }
    };
    vec![mount]
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use chunked_store::{Labels, NewSnapshot, Store};

    use super::*;

    fn shown(store: &Store, kind: Kind, name: &str, parent: Option<&str>) -> String {
        let labels = Labels::new();
        let new = NewSnapshot { name, kind, parent, labels: &labels, owner: None };
        let options = MountOptions { overlay: vec!["index=off".to_owned()], remap_ids: true };
        let made = mounts(&store.create(&new).unwrap(), &options);
        assert_eq!(made, mounts(&store.mount(name).unwrap(), &options), "Mounts says what Prepare said");
        let [mount] = made.as_slice() else { panic!("one mount") };
        let text = format!("{} {} {}", mount.r#type, mount.source, mount.options.join(","));
        text.replace(&store.root().display().to_string(), "R")
    }

    #[test]
    fn table_of_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(shown(&store, Kind::Active, "a", None), "bind R/snapshots/1/fs rw,rbind");
        assert_eq!(shown(&store, Kind::View, "v0", None), "bind R/snapshots/2/fs ro,rbind");
        store.commit("A", "a", &Labels::new(), None).unwrap();
        assert_eq!(shown(&store, Kind::View, "v1", Some("A")), "bind R/snapshots/1/fs ro,rbind");
        assert_eq!(
            shown(&store, Kind::Active, "b", Some("A")),
            "overlay overlay index=off,workdir=R/snapshots/4/work,upperdir=R/snapshots/4/fs,lowerdir=R/snapshots/1/fs"
        );
        store.commit("B", "b", &Labels::new(), None).unwrap();
        assert_eq!(
            shown(&store, Kind::View, "v2", Some("B")),
            "overlay overlay index=off,lowerdir=R/snapshots/4/fs:R/snapshots/1/fs"
        );
    }
}
