"""Compares two trees entirely: type, mode, owner, size, content, mtime in ns, xattrs, devices, targets, hard-link groups."""
import hashlib
import os
import stat


def describe(path, status):
    mode = status.st_mode
    entry = {"type": stat.S_IFMT(mode), "mode": oct(stat.S_IMODE(mode)), "uid": status.st_uid, "gid": status.st_gid,
             "mtime": status.st_mtime_ns}
    names = os.listxattr(path, follow_symlinks=False)
    entry["xattrs"] = {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names)}
    if stat.S_ISREG(mode):
        entry["size"] = status.st_size
        with open(path, "rb") as f:
            entry["digest"] = hashlib.file_digest(f, "sha256").hexdigest()
    elif stat.S_ISLNK(mode):
        entry["target"] = os.readlink(path)
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        entry["device"] = status.st_rdev
    return entry


def walk(root):
    root = os.fsencode(root)
    entries, inodes = {b".": describe(root, os.lstat(root))}, {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, root)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                entries[relative] = {"type": "listed, but not to be found"}  # a whiteout that overlayfs shows
                continue
            entries[relative] = describe(path, status)
            if not stat.S_ISDIR(status.st_mode):
                inodes.setdefault((status.st_dev, status.st_ino), []).append(relative)
    for names in inodes.values():
        for name in names:
            entries[name]["linked with"] = sorted(names)
    return entries


def differences(one, other, untimed=()):
    """Lines that say where the trees differ, and how many entries there are; `untimed` directories may have any mtime."""
    a, b = walk(one), walk(other)
    return compare(a, b, untimed), len(a)


def compare(a, b, untimed=()):
    """Lines that say where two walks differ."""
    lines = []
    for name in sorted(set(a) | set(b)):
        x, y = a.get(name), b.get(name)
        if x is None or y is None:
            lines.append("%r is only in the %s" % (name, "second" if x is None else "first"))
            continue
        keys = [key for key in {**x, **y} if x.get(key) != y.get(key) and not (key == "mtime" and name in untimed)]
        if keys:
            lines.append("%r: %s" % (name, {key: (x[key], y.get(key)) for key in keys}))
    return lines


def directories(root):
    """Names of all directories of a tree, as `differences` has them."""
    root = os.fsencode(root)
    return {os.path.relpath(directory, root) for directory, _, _ in os.walk(root)}
