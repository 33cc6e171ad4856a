"""A node whose store lies on a disk of its own; what must hold of it whatever happened to the disk."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "suite"))

import images  # noqa: E402
import trees  # noqa: E402
from lab import BINARY, Failure, Node, run, wait_for  # noqa: E402

# The root of a mount has the time of its upper directory, and directories that the top layer does not describe that of their making.
UNTIMED = {b".", b"implied", b"implied/below", b"srv"}


def layers(version):
    """Three layers: a program, files of which version 2 changes some, and one that removes, replaces and hides."""
    base, files = images.application(version)
    def top(t):
        images.add(t, "srv/.wh.f%d" % (7 + version))
        images.add(t, "srv/version", data=b"changed %d\n" % version)
        images.add(t, "etc/", images.D, mode=0o750, uid=7, gid=8)
        images.add(t, "etc/caps", data=b"c" * 3000, mode=0o755, xattrs={"security.capability": images.CAPABILITY})
        images.add(t, "etc/link", images.S, linkname="../srv/version")
        images.add(t, "etc/owned", data=b"o" * 300, mode=0o6755, uid=7, gid=8)
        images.add(t, "etc/again", images.L, linkname="etc/owned", mode=0o6755, uid=7, gid=8)
        images.add(t, "implied/below/file", data=b"x")
    return [base, files, images.tar(top)]


def pushed(lab, registry):
    """Two versions in two formats."""
    return [image for version in (1, 2) for image in
            images.push(lab, registry, "disk%d" % version, layers(version), ["zstd:chunked", "gzip"]).values()]


def reference(lab, registry, every):
    """The tree of each image as containerd's own snapshotter makes it."""
    node = Node(lab, "2.4", [registry], name="reference")
    expected = {}
    try:
        for number, image in enumerate(every):
            node.ctr("images", "pull", "--plain-http", "--snapshotter", "overlayfs", image.name)
            where = node.path("mnt-%d" % number)
            undo = node.mounted(image, "overlayfs", where)
            expected[image.name] = trees.walk(where)
            undo()
    finally:
        node.stop()
    return expected


class OnDisk:
    """containerd on the lab's disk, our store on another."""

    def __init__(self, lab, filesystem, registry, name, size="2G"):
        self.lab, self.filesystem = lab, filesystem
        # btrfs on the lab's own disk, which can copy the image in one step.
        self.disk = lab.path(name) if filesystem == "btrfs" else os.path.join(lab.dir, name)
        self.image = self.disk + ".img"
        lab.disk(filesystem, size, self.disk)
        self.node = Node(lab, "2.4", [registry], name="node-" + name, root=os.path.join(self.disk, "cs"))
        self.compared = 0

    def stop(self):
        self.node.stop()
        run("umount", "-l", self.disk, check=False)
        os.unlink(self.image)
        os.rmdir(self.disk)

    def start(self):
        """Starts our daemon again, and waits until containerd has found it: it tries less and less often."""
        self.node.start_daemon()
        # Only what makes containerd call us tells: of an empty list it need not.
        ask = ["snapshots", "--snapshotter", "chunked"]
        wait_for("containerd to find the daemon", lambda: self.node.ctr(*ask, "prepare", "awake", check=False).returncode == 0, 60)
        self.node.ctr(*ask, "rm", "awake")

    def command(self, image):
        """What pulls an image through us."""
        return [os.path.join(self.node.bin, "ctr"), "-a", self.node.socket, "images", "pull", "--plain-http", "--snapshotter", "chunked",
                image.name]

    def pull(self, image):
        run(*self.command(image), timeout=120)

    def ours(self, *arguments):
        """Our command line, through the daemon: what it answers."""
        done = run(BINARY, *arguments, "--json", "--address", self.node.ours, check=False)
        if done.returncode:
            raise Failure("%s: exit %d\n%s%s" % (" ".join(arguments), done.returncode, done.stdout, done.stderr))
        return json.loads(done.stdout)

    def compare(self, image, expected, when):
        """What a container of the image would see, without pulling it."""
        self.compared += 1
        where = self.node.path("mnt-%d" % self.compared)
        undo = self.node.mounted(image, "chunked", where)
        try:
            found = trees.walk(where)
        finally:
            undo()
            os.rmdir(where)
        bad = sorted(name for name in set(found) | set(expected) if timeless(name, found) != timeless(name, expected))
        if bad:
            raise Failure("%s, %s: %d of %d entries differ, %r, the first: %s instead of %s" % (
                image.name, when, len(bad), len(expected), bad[:5], found.get(bad[0]), expected.get(bad[0])))

    def verify(self):
        """Reads every file of the store; gives what was read."""
        told = self.ours("store", "verify", "--contents")
        if told["problems"] or told["left"]:
            raise Failure("the store is not sound: %s" % told)
        return told


def timeless(name, tree):
    entry = tree.get(name)
    return entry and {key: value for key, value in entry.items() if not (key == "mtime" and name in UNTIMED)}
