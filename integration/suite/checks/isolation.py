"""Two images on one node: what one is, or does, never changes the other. On ext4, xfs and btrfs, where files are concerned."""
import os
import stat
import tarfile
import time

import images
import trees
from images import CAPABILITY, D, L
from lab import BINARY, Failure, run

FILESYSTEMS = ("ext4", "xfs", "btrfs")
FORMATS = ("gzip", "zstd:chunked")
TOOL = b"#!/bin/sh\n" + b"id\n" * 3000
LARGE = bytes(range(251)) * 12000


class Node:
    """A store on one file system, filled by the command line, each pull a process of its own."""

    def __init__(self, where, name):
        self.root = os.path.join(where, name)

    def pull(self, image):
        run(BINARY, "pull", image.name, "--root", self.root)

    def layers(self):
        """Trees of all layers, by directory."""
        snapshots = os.path.join(self.root, "snapshots")
        return {name: trees.walk(os.path.join(snapshots, name, "fs")) for name in sorted(os.listdir(snapshots))}

    def trees(self):
        snapshots = os.path.join(self.root, "snapshots")
        names = sorted(os.listdir(snapshots)) if os.path.isdir(snapshots) else []
        return [os.path.join(snapshots, name, "fs") for name in names]


def tool(t, name="bin/tool", data=TOOL, mode=0o755, **fields):
    images.add(t, name, data=data, mode=mode, **fields)


def link(t, name="bin/link", to="bin/tool", mode=0o755, **fields):
    images.add(t, name, L, linkname=to, mode=mode, **fields)


def victim(t):
    """Files of every kind that somebody could want to change."""
    images.add(t, "bin", D, mode=0o755)
    tool(t)
    tool(t, "bin/setuid", b"s" * 5000, 0o4755)
    tool(t, "bin/owned", b"o" * 5000, 0o640, uid=1000, gid=1001)
    tool(t, "bin/capable", b"c" * 5000, xattrs={"security.capability": CAPABILITY})
    tool(t, "bin/marked", b"m" * 5000, xattrs={"user.mark": "1"})
    tool(t, "lib/large", LARGE, 0o644)
    link(t, "lib/second", "bin/tool")


def twice(t):
    tool(t)
    tool(t, data=b"another", mode=0o4755)


def chain(t):
    tool(t)
    link(t, "bin/a", "bin/tool")
    link(t, "bin/b", "bin/a")
    link(t, "bin/c", "bin/b", mode=0o4777, uid=7)


def replaced(t):
    tool(t)
    link(t, "bin/a", "bin/tool", mode=0o4777)
    tool(t, data=b"another")
    link(t, "bin/b", "bin/a", xattrs={"user.planted": "1"})


def through_a_symlink(t):
    tool(t)
    images.add(t, "alias", images.S, linkname="bin")
    link(t, "bin/evil", "alias/../bin/tool", mode=0o4777)


def with_link(of, data, was, **fields):
    """A file equal to the victim's `of`, and a link entry that wants it otherwise."""
    def build(t):
        tool(t, of, data, **was)
        link(t, "bin/evil", of, **{**was, **fields})
    return build


# What an image may try, and what its own tree is then to say of the last name.
ATTACKS = (
    ("a mode", with_link("bin/tool", TOOL, {}, mode=0o4755), {"mode": "0o4755"}),
    ("an owner", with_link("bin/tool", TOOL, {}, uid=1000, gid=1000), {"uid": 1000}),
    ("a time", with_link("bin/tool", TOOL, {}, mtime=1), {"mtime": 10 ** 9}),
    ("an attribute", with_link("bin/tool", TOOL, {}, xattrs={"user.planted": "1"}), {"xattrs": {"user.planted": b"1"}}),
    ("a capability", with_link("bin/tool", TOOL, {}, xattrs={"security.capability": CAPABILITY}), {}),
    ("nothing of a setuid file", with_link("bin/setuid", b"s" * 5000, {"mode": 0o4755}), {"mode": "0o4755"}),
    ("the setuid bit's end", with_link("bin/setuid", b"s" * 5000, {"mode": 0o4755}, mode=0o755), {"mode": "0o755"}),
    ("nothing of an owned file", with_link("bin/owned", b"o" * 5000, {"mode": 0o640, "uid": 1000, "gid": 1001}), {"uid": 1000}),
    ("a link without the capability", with_link("bin/capable", b"c" * 5000, {"xattrs": {"security.capability": CAPABILITY}}, xattrs={}),
     {"xattrs": {"security.capability": CAPABILITY.encode("latin-1")}}),
    ("nothing of a capable file", with_link("bin/capable", b"c" * 5000, {"xattrs": {"security.capability": CAPABILITY}}), {}),
    ("an attribute's value", with_link("bin/marked", b"m" * 5000, {"xattrs": {"user.mark": "1"}}, xattrs={"user.mark": "2"}), {"xattrs": {"user.mark": b"2"}}),
    ("a large file's mode", with_link("lib/large", LARGE, {"mode": 0o644}, mode=0o4755), {"mode": "0o4755"}),
    ("a large file's owner", with_link("lib/large", LARGE, {"mode": 0o644}, uid=3), {"uid": 3}),
    ("a file listed twice", twice, {}),
    ("a chain of links", chain, {"mode": "0o4777", "uid": 7}),
    ("links to what is replaced", replaced, {"xattrs": {"user.planted": b"1"}}),
    ("a link through a symlink", through_a_symlink, {"mode": "0o4777"}),
)
# The reference writer refuses them as zstd:chunked.
DUPLICATES = ("a file listed twice", "links to what is replaced")


def last_name(layer):
    with tarfile.open(fileobj=__import__("io").BytesIO(layer)) as t:
        return os.fsencode(t.getnames()[-1])


def unchanged(before, after, what):
    lost = [name for name in before if name not in after]
    changed = [line for name in before if name in after for line in trees.compare(before[name], after[name])]
    if lost or changed:
        raise Failure("%s changed another layer: %s" % (what, lost + changed))


def nothing_of_a_neighbour_changes(where, pushed, format):
    node = Node(where, "neighbour-" + format.replace(":", "-"))
    node.pull(pushed["victim"][format])
    before = node.layers()
    for what, _, wanted in ATTACKS:
        if format not in pushed[what]:
            continue
        known = set(node.layers())
        node.pull(pushed[what][format])
        after = node.layers()
        unchanged(before, after, what)
        new = [name for name in after if name not in known]
        if len(new) != 1:
            raise Failure("%s: %d new layers" % (what, len(new)))
        found = after[new[0]][pushed[what]["last"]]
        if any(found.get(key) != value for key, value in wanted.items()):
            raise Failure("%s: the image's own file has %.500r, not %r" % (what, found, wanted))
    run(BINARY, "store", "verify", "--contents", "--root", node.root)


def inodes(tree):
    """Names of regular files by inode."""
    found = {}
    for directory, _, files in os.walk(tree):
        for name in files:
            status = os.lstat(os.path.join(directory, name))
            if stat.S_ISREG(status.st_mode):
                found.setdefault(status.st_ino, set()).add(os.path.join(directory, name))
    return found


def files_stay_apart(node, known):
    """No two files of the layers that are not `known` are one inode."""
    every = {}
    for tree in node.trees():
        if tree not in known:
            for inode, names in inodes(tree).items():
                every.setdefault(inode, set()).update(names)
    joined = [sorted(names) for names in every.values() if len(names) > 1]
    if joined:
        raise Failure("%d inodes with several names in one image, such as %s" % (len(joined), joined[0]))


def same_files(prefix, number=200):
    """Files with the same contents and metadata, whatever the prefix."""
    def build(t):
        for n in range(number):
            images.add(t, "%s/%d" % (prefix, n), data=b"%d " % (n % 50) * 600)
    return images.tar(build)


def image_files_stay_apart(where, pushed, format):
    node = Node(where, "apart-" + format.replace(":", "-"))
    # A donor, several of whose names are one inode, and an image of which many layers want it, all at once.
    node.pull(pushed["donor"][format])
    known = node.trees()
    node.pull(pushed["six"][format])
    files_stay_apart(node, known)
    # A third image has the base's inodes, because one of them took them from the other; what comes above the base must
    # not get them by that way.
    for first, second in (("base", "third"), ("third", "base")):
        node = Node(where, "%s-first-%s" % (first, format.replace(":", "-")))
        kept = {}
        for what in (first, second):
            before = node.trees()
            node.pull(pushed[what][format])
            kept[what] = [tree for tree in node.trees() if tree not in before]
        node.pull(pushed["both"][format])
        files_stay_apart(node, kept["third"])


def many(pattern, number):
    def build(t):
        for entry in pattern(number):
            images.add(t, *entry[:1], **entry[1])
    return images.tar(build, tarfile.USTAR_FORMAT)


def name(n):
    return "d%d/f%d" % (n % 20, n)


def once(number):
    return [(name(n), {"data": b"x" * 10}) for n in range(number)]


def links_replaced(number):
    """Each name is a link again and again."""
    return [("first", {"data": b"1"}), ("second", {"data": b"2"})] + [
        ("l%d" % (n % 10), {"type": L, "linkname": ("first", "second")[n % 2]}) for n in range(number)]


def whiteouts(number):
    return [entry for n in range(number) for entry in ((name(n), {"data": b"x"}), ("d%d/.wh.f%d" % (n % 20, n), {}))]


def back_and_forth(number):
    """Directories with a file in them, which files replace, and the other way round."""
    return [entry for n in range(number // 4) for entry in (
        ("d%d" % (n % 10), {"type": D, "mode": 0o755}), ("d%d/f" % (n % 10), {"data": b"x"}), ("d%d" % (n % 10), {"data": b"y"}),
        ("d%d" % (n % 10), {"type": D, "mode": 0o755}))]


def link_chain(number):
    return [("l0", {"data": b"x"})] + [("l%d" % n, {"type": L, "linkname": "l%d" % (n - 1)}) for n in range(1, number)]


ENTRIES = 40000
# Each has so many entries, so that it can be held against so many files listed once.
PATTERNS = (("listed twice", lambda n: once(n // 2) * 2), ("twice in a row", lambda n: [e for e in once(n // 2) for _ in (0, 1)]),
            ("links replaced", links_replaced), ("whiteouts", lambda n: whiteouts(n // 2)), ("back and forth", back_and_forth),
            ("links in a chain", link_chain))


def replacing_costs_linear_time(where, pushed, patterns):
    def seconds(what, name=""):
        began = time.monotonic()
        Node(where, "many-" + what.replace(" ", "-") + name).pull(pushed[what]["gzip"])
        return time.monotonic() - began
    plain = seconds("once")
    for what in patterns:
        took = seconds(what)
        # Generous, because others use the processors, too: what waits for each entry takes much longer.
        if took > 3 * plain + 2:
            # Nor may they have begun in between.
            plain, took = seconds("once", "-again"), seconds(what, "-again")
        if took > 3 * plain + 2:
            raise Failure("%s: %.1f s; files listed once take %.1f s" % (what, took, plain))


def checks(lab, registry):
    pushed = {}

    def push(what, *layers, formats=FORMATS):
        short = "isolation-" + what.replace(" ", "-").replace("'", "")
        pushed[what] = images.push(lab, registry, short, list(layers), formats)
        pushed[what]["last"] = last_name(layers[-1])

    push("victim", images.tar(victim))
    for what, build, _ in ATTACKS:
        push(what, images.tar(build), formats=FORMATS[:1] if what in DUPLICATES else FORMATS)
    push("donor", same_files("donor"))
    push("six", *(same_files("layer%d" % n) for n in range(6)))
    push("base", same_files("base", 50))
    push("third", same_files("elsewhere", 50))
    push("both", same_files("base", 50), same_files("above", 50))
    push("once", many(once, ENTRIES), formats=("gzip",))
    for what, pattern in PATTERNS:
        push(what, many(pattern, ENTRIES), formats=("gzip",))

    for filesystem in FILESYSTEMS:
        where = lab.disk(filesystem)
        for format in FORMATS:
            yield ("nothing of a neighbour changes: %s, %s" % (format, filesystem),
                   lambda w=where, f=format: nothing_of_a_neighbour_changes(w, pushed, f))
            yield ("files of an image stay apart: %s, %s" % (format, filesystem),
                   lambda w=where, f=format: image_files_stay_apart(w, pushed, f))
        # What waits for workers is the same on all, and dearest on btrfs.
        patterns = [what for what, _ in PATTERNS] if filesystem == "btrfs" else ["listed twice"]
        yield ("what replaces costs linear time, %s" % filesystem,
               lambda w=where, p=patterns: replacing_costs_linear_time(w, pushed, p))
