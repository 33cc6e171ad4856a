//! Directories that are mounted, whatever the rows say. After the state database was lost, or an old copy was put back,
//! containers run on layers that no snapshot has, and on writable directories that nothing names any more.

#![allow(clippy::disallowed_methods, reason = "files of the kernel's")]

use std::collections::HashSet;
use std::path::Path;

/// Mounts that this process sees, and those that containerd's sees if it lives beside the init process.
const TABLES: [&str; 2] = ["/proc/self/mountinfo", "/proc/1/mountinfo"];

/// Numbers of the directories below `snapshots` that overlay mounts have, as lower or as upper ones. A mount goes on naming
/// the place where a directory was when the mount was made.
pub(crate) fn directories(snapshots: &Path) -> HashSet<u64> {
    let tables = TABLES.iter().filter_map(|path| std::fs::read(path).ok());
    tables.flat_map(|table| of_table(&table, snapshots)).collect()
}

fn of_table(table: &[u8], snapshots: &Path) -> HashSet<u64> {
    let table = String::from_utf8_lossy(table);
    let options = table.lines().filter_map(|line| {
        // proc(5): what comes behind the dash is the type, the source and the filesystem's options.
        let (_, of_filesystem) = line.split_once(" - ")?;
        of_filesystem.strip_prefix("overlay ")?.rsplit(' ').next()
    });
    let paths = options.flat_map(|options| options.split(',')).filter_map(|option| {
        let (key, value) = option.split_once('=')?;
        (key.starts_with("lowerdir") || key == "upperdir").then_some(value)
    });
    paths.flat_map(|paths| paths.split(':')).filter_map(|path| number(path, snapshots)).collect()
}

/// The number of the directory whose tree is at `path`. containerd shortens long lists to paths that are relative to a
/// common parent: such a one counts, whoever's it is.
fn number(path: &str, snapshots: &Path) -> Option<u64> {
    let path = Path::new(path);
    let path = if path.is_absolute() { path.strip_prefix(snapshots).ok()? } else { path };
    path.to_str()?.strip_suffix("/fs")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read_from_the_table() {
        let table = b"\
36 35 98:0 / /mnt rw,noatime shared:1 - ext3 /dev/root rw,errors=continue
501 35 0:61 / /run/a/rootfs rw,relatime shared:9 - overlay overlay rw,lowerdir=/r/snapshots/3/fs:/r/snapshots/12/fs,upperdir=/r/snapshots/20/fs,workdir=/r/snapshots/20/work,index=off
502 35 0:62 / /run/b rw - overlay overlay rw,lowerdir=7/fs:8/fs,upperdir=/r/snapshots/21/fs
503 35 0:63 / /run/c rw - overlay overlay rw,lowerdir+=/r/snapshots/30/fs,lowerdir+=/r/snapshots/31/fs,upperdir=/other/1/fs
504 35 0:64 / /run/d rw - overlay overlay rw,lowerdir=/other/snapshots/40/fs:/r/snapshots/x/fs:/r/snapshots/41
505 35 0:65 / /run/e rw - tmpfs tmpfs rw,lowerdir=/r/snapshots/50/fs
broken";
        let found = of_table(table, Path::new("/r/snapshots"));
        assert_eq!(found, HashSet::from([3, 12, 20, 7, 8, 21, 30, 31]));
    }
}
