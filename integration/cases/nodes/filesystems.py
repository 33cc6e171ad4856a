"""Roots on file systems of every kind: those that cannot work are refused when the daemon starts, by name and with what to do."""
import os
import re

import lab
from lib import machine, texts
from lib.image import Image
from lib.node import Node, short
from lib.play import Seen, case
from lib.rawtar import directory, file, layer, opaque, whiteout
from lib.registry import Registry

from registries.certificates import small


def loop(where, *make):
    """Mounts a file system of 400 MB that this command makes."""
    os.mkdir(where + "/m")
    lab.run("truncate", "-s", "400M", where + "/img")
    lab.run(*make, where + "/img")
    lab.run("mount", "-o", "loop", where + "/img", where + "/m")


def overlay(where):
    for name in ("lower", "upper", "work", "m"):
        os.mkdir(where + "/" + name)
    lab.run("mount", "-t", "overlay", "overlay", "-o", "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work".format(where), where + "/m")


def tmpfs(where):
    os.mkdir(where + "/m")
    lab.run("mount", "-t", "tmpfs", "none", where + "/m")


def read_only(where):
    tmpfs(where)
    os.mkdir(where + "/m/r")
    lab.run("mount", "-o", "remount,ro", where + "/m")


def container_mounts(node, image):
    """What a container's mount of this image says; nothing if it works."""
    key, where = "rw-" + image.digest[-8:], machine.scratch("rw")
    node.client("chunked", "snapshots", "--snapshotter", "chunked", "prepare", key, image.chain_id())
    line = node.client("chunked", "snapshots", "--snapshotter", "chunked", "mounts", where, key).stdout
    mounted = lab.run("sh", "-c", line, check=False)
    try:
        if mounted.returncode:
            return mounted.stderr.strip()
        with open(where + "/written", "w") as f:
            f.write("x")
    finally:
        lab.run("umount", "-l", where, check=False)


def works(node):
    """What is wrong with pulls and containers there; nothing if they work."""
    for image in (small(2), Image(layer(directory(b"a/"), file(b"a/x", b"x")), layer(whiteout(b"a/x"), directory(b"b/"), opaque(b"b")))):
        with Registry() as registry:
            ref = registry.add("test/app", "t", image)
            pulled = node.pull(ref)
            if not pulled:
                return "the pull fails: " + short(pulled.text)
            node.tree(ref)
            wrong = container_mounts(node, image)
            if wrong:
                return "a container cannot be mounted: " + short(wrong)


def root_on(name, title, make, refused=None):
    """`refused`: words that the daemon's last text must have."""
    @case("filesystems-" + name, title, "refused" if refused else "ok")
    def _():
        where = machine.scratch("root")
        make(where)
        try:
            node = Node(root=where + "/m/r")
        except lab.Failure as failure:
            text = str(failure)
            missing = [word for word in refused or () if not re.search(word, text, re.I)]
            wrong = missing or texts.faults(texts.last(text))
            return Seen("wrong" if wrong or not refused else "refused", "%s%s" % ("lacks %s: " % wrong if wrong else "", short(text, 700)))
        try:
            wrong = works(node)
        finally:
            node.stop()
        return Seen("wrong", wrong or "it started, and works") if refused or wrong else Seen("ok")


root_on("xfs", "xfs with reflinks", lambda where: loop(where, "mkfs.xfs", "-q"))
root_on("xfs-without-reflinks", "xfs without reflinks", lambda where: loop(where, "mkfs.xfs", "-q", "-m", "reflink=0"))
root_on("ext4", "ext4", lambda where: loop(where, "mkfs.ext4", "-q", "-F"))
root_on("ext4-without-journal", "ext4 without a journal", lambda where: loop(where, "mkfs.ext4", "-q", "-F", "-O", "^has_journal"))
root_on("ext4-128-byte-inodes", "ext4 with small inodes (times end in 2038)", lambda where: loop(where, "mkfs.ext4", "-q", "-F", "-I", "128"))
root_on("btrfs", "btrfs", lambda where: loop(where, "mkfs.btrfs", "-q"))
root_on("tmpfs", "tmpfs", tmpfs)
root_on("overlay", "overlayfs", overlay, ("overlay",))
root_on("read-only", "a read-only file system", read_only, ("read-only",))
