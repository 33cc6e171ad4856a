"""What the node has is not fetched again, nor stored twice; counted at the registry, on ext4, xfs and btrfs."""
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import threading
import time

import images
import trees
from checks.integrity import flipped
from lab import BINARY, Failure, Node, run, wait_for

POSITION = "io.github.containers.zstd-chunked."
FILESYSTEMS = ("ext4", "xfs", "btrfs")
MB = 1 << 20


def toc(image, layer):
    """The TOC's entries, and the bytes of TOC and tar-split in the blob."""
    table, split = ([int(x) for x in layer["annotations"][POSITION + name].split(":")]
                    for name in ("manifest-position", "tarsplit-position"))
    blob = image.bytes("blobs/" + layer["digest"])
    text = subprocess.run(["zstd", "-dc"], input=blob[table[0]:table[0] + table[1]], capture_output=True, check=True).stdout
    return json.loads(text)["entries"], table[1] + split[1]


class Content:
    """Files and pieces of an image: compressed bytes by (digest, length)."""

    def __init__(self, image):
        self.files, self.pieces, self.of, self.metadata = {}, {}, {}, 0
        for layer in image.manifest["layers"]:
            entries, metadata = toc(image, layer)
            self.metadata += metadata
            for at, entry in enumerate(entries):
                if entry["type"] == "reg" and entry.get("size"):
                    chunks = [entry]
                    while at + len(chunks) < len(entries) and entries[at + len(chunks)]["type"] == "chunk":
                        chunks.append(entries[at + len(chunks)])
                    self.file(entry, chunks)

    def file(self, entry, chunks):
        key = entry["digest"], entry["size"]
        self.files[key] = entry["endOffset"] - entry["offset"]
        self.of[key] = []
        ends = [chunk["offset"] for chunk in chunks[1:]] + [entry["endOffset"]]
        for chunk, end in zip(chunks, ends):
            if chunk.get("chunkType") != "zeros":
                piece = chunk.get("chunkDigest") or entry["digest"], chunk.get("chunkSize") or entry["size"]
                self.pieces[piece] = end - chunk["offset"]
                self.of[key].append(piece)

    def missing(self, *held):
        """Compressed bytes of the distinct pieces of this that none of `held` has, and this image's metadata."""
        have = {piece for other in held for piece in other.pieces}
        lacking = {piece for key, pieces in self.of.items() if not any(key in other.files for other in held) for piece in pieces}
        return sum(self.pieces[piece] for piece in lacking - have), self.metadata


class Stores:
    """Stores on one file system, filled by the command line."""

    def __init__(self, where):
        self.where = where

    def path(self, *parts):
        return os.path.join(self.where, *parts)

    def pull(self, image, store="store", to=None):
        """Pulls into a store, as a process of its own; with `to` writes the root file system there, too."""
        command = [BINARY, "pull", image.name, "--json", "--root", self.path(store)]
        if to:
            shutil.rmtree(self.path(to), ignore_errors=True)
            command += ["--to", self.path(to)]
        run(*command)

    def layer_files(self, name, store="store"):
        """Paths of all regular files called `name` in the store's layers."""
        found = []
        for directory, _, files in os.walk(self.path(store, "snapshots")):
            found += [os.path.join(directory, file) for file in files if file == name]
        return found

    def used(self):
        run("sync", "-f", self.where)
        room = os.statvfs(self.where)
        return (room.f_blocks - room.f_bfree) * room.f_frsize

    def clear(self):
        for name in os.listdir(self.where):
            if name != "lost+found":
                shutil.rmtree(self.path(name))


def right_tree(layers, where, scratch):
    """The tree at `where` is what the layers describe, down to owners, times and hard links."""
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch)
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            archive.extractall(scratch, numeric_owner=True, filter="fully_trusted")
            for entry in archive:
                for name in filter(lambda name: name.startswith("SCHILY.xattr."), entry.pax_headers):
                    value = entry.pax_headers[name].encode("latin-1")
                    os.setxattr(os.path.join(scratch, entry.name), name[len("SCHILY.xattr."):], value)
    lines, entries = trees.differences(scratch, where, untimed=images.implied_directories(layers))
    lines = [line for line in lines if not line.startswith("b'.'")]
    if lines:
        raise Failure("%d of %d entries differ:\n%s" % (len(lines), entries, "\n".join(lines[:10])))
    shutil.rmtree(scratch)


def noise(seed, size):
    source = random.Random(seed)
    return b"".join(source.randbytes(min(size - at, 64 * MB)) for at in range(0, size, 64 * MB))


def files(t, which, big=()):
    for i in which:
        images.add(t, "srv/d%d/f%d" % (i % 20, i), data=noise(i, 1500 + 211 * i), mtime=1700000000 + i)
    for name, data in big:
        images.add(t, "srv/" + name, data=data, mtime=1700000000)


def edited(data, places, size, seed):
    data = bytearray(data)
    for i in range(places):
        at = (2 * i + 1) * len(data) // (2 * places)
        data[at:at + size] = noise(1000 * seed + i, size)
    return bytes(data)


def check_bytes(what, counted, floor, metadata, most=1.05):
    ratio = counted / (floor + metadata)
    print("    %s: counted %d, floor %d + %d of metadata: %.3f" % (what, counted, floor, metadata, ratio), flush=True)
    if not ratio <= most:
        raise Failure("%s: %d bytes at the registry, the floor is %d" % (what, counted, floor + metadata))


def checks(lab, registry):
    address, ask = lab.proxy(registry)
    disks = {}

    def push(name, layers, formats=("zstd:chunked",)):
        pushed = images.push(lab, registry, "reuse-" + name, layers, formats)
        return {format: image.through(address) for format, image in pushed.items()}

    def disk(filesystem):
        if filesystem not in disks:
            disks[filesystem] = Stores(lab.disk(filesystem, "4G"))
        disks[filesystem].clear()
        return disks[filesystem]

    def counted(work):
        ask("/reset")
        done = work()
        return sum(r["body"] for r in ask("/log") if "/blobs/" in r["path"] and r.get("range")), done

    base = [images.tar(lambda t: images.add(t, "bin/hello", data=images.hello(), mode=0o755))]
    large = noise(77, 12 * MB)
    def application(version):
        big = [("big", large if version == 1 else edited(large, 3, 60000, version))]
        def layer(t):
            files(t, range(300), big)
            for i in range(0, 300, 15) if version > 1 else ():
                images.add(t, "srv/new%d" % i, data=noise(90000 + i, 40000))
        return base + [images.tar(layer)]
    v1, v2 = push("v1", application(1)), push("v2", application(2))

    def update(filesystem):
        stores = disk(filesystem)
        one, two = v1["zstd:chunked"], v2["zstd:chunked"]
        stores.pull(one)
        wire, _ = counted(lambda: stores.pull(two, to="tree"))
        floor, metadata = Content(two).missing(Content(one))
        # The layer below is there; its TOC is not asked for.
        metadata -= toc(two, two.manifest["layers"][0])[1]
        if not 0.03 < floor / sum(layer["size"] for layer in two.manifest["layers"]) < 0.12:
            raise Failure("the update is not the one this check is about")
        check_bytes("an update on " + filesystem, wire, floor, metadata)
        right_tree(application(2), stores.path("tree"), stores.path("expected"))

    def large_file():
        stores = disk("xfs")
        old = noise(300, 300 * MB)
        new = edited(old, 10, 300 * 1024, 301)
        layer = lambda data: [images.tar(lambda t: images.add(t, "model", data=data))]
        one, two = push("model1", layer(old))["zstd:chunked"], push("model2", layer(new))["zstd:chunked"]
        before = stores.used()
        stores.pull(one)
        first = stores.used() - before
        wire, _ = counted(lambda: stores.pull(two))
        grown = stores.used() - before - first
        stores.pull(two, to="tree")
        size = two.manifest["layers"][0]["size"]
        floor, metadata = Content(two).missing(Content(one))
        print("    1 %% of 300 MB changed: %.2f %% fetched, %.1f %% of the disk taken again" % (
            100 * wire / size, 100 * grown / first))
        if wire > 0.05 * size:
            raise Failure("%d of %d bytes fetched" % (wire, size))
        check_bytes("a large file", wire, floor, metadata)
        if grown > 0.1 * first:
            raise Failure("chunks do not share their blocks: %d bytes more on the disk" % grown)
        with open(stores.path("tree", "model"), "rb") as f:
            if f.read() != new:
                raise Failure("the file is wrong")

    def other_cuts(filesystem, format, most):
        stores = disk(filesystem)
        parts = [lambda t: files(t, range(0, 200), [("x", noise(11, 20 * MB))]),
                 lambda t: files(t, range(200, 400), [("y", noise(12, 20 * MB))])]
        def both(t):
            files(t, range(0, 200), [("x", noise(11, 20 * MB))])
            files(t, range(200, 400), [("y", noise(12, 20 * MB))])
        one = push("cuts1", [images.tar(both)], [format])[format]
        layers = base + [images.tar(part) for part in parts]
        two = push("cuts2", layers, [format])[format]
        # What is only in the second is the program; it is pulled before.
        below = push("cuts0", base, [format])[format]
        stores.pull(below)
        start = stores.used()
        stores.pull(one)
        first = stores.used() - start
        wire, _ = counted(lambda: stores.pull(two))
        grown = stores.used() - start - first
        print("    %s, %s: %.2f %% of the disk taken again" % (filesystem, format, 100 * grown / first), flush=True)
        if grown > most * first:
            raise Failure("%d bytes more on the disk, after %d for the first image" % (grown, first))
        if format == "zstd:chunked":
            metadata = sum(toc(two, layer)[1] for layer in two.manifest["layers"][1:])
            if wire > 1.01 * metadata:
                raise Failure("%d bytes fetched, TOC and tar-split have %d" % (wire, metadata))
        stores.pull(two, to="tree")
        right_tree(layers, stores.path("tree"), stores.path("expected"))

    def plain_then_chunked(format):
        """A layer that came whole is cut in the background, and then gives its chunks."""
        old = noise(400, 36 * MB)
        new = edited(old, 5, 4096, 401)
        layers = lambda data: [images.tar(lambda t: files(t, range(40), [("model", data)]))]
        one = push("whole1", layers(old), [format])[format]
        two = push("whole2", layers(new))["zstd:chunked"]
        node = Node(lab, "2.4", [address], name="whole-" + format.split(":")[0])
        try:
            indexed = lambda: json.loads(run(BINARY, "status", "--address", node.ours, "--json").stdout)["indexed_chunks"]
            start = time.monotonic()
            node.nerdctl("pull", "-q", one.name)
            wait_for("the chunks of a %s layer" % format, indexed)
            waited = time.monotonic() - start
            # The index outlives the daemon, and nothing is done twice.
            before = indexed()
            run(BINARY, "store", "verify", "--address", node.ours)
            node.daemon.stop()
            node.start_daemon()
            run(BINARY, "store", "verify", "--address", node.ours)
            if indexed() != before:
                raise Failure("%d chunks before the restart, %d after" % (before, indexed()))
            wire, _ = counted(lambda: node.nerdctl("pull", "-q", two.name))
            size = two.manifest["layers"][0]["size"]
            floor, metadata = Content(two).missing(Content(push("whole1", layers(old))["zstd:chunked"]))
            print("    %s: %d chunks after %.1f s; %.2f %% of the next version fetched" % (format, before, waited, 100 * wire / size))
            check_bytes("chunks of a %s layer" % format, wire, floor, metadata)
            if wire > 0.05 * size:
                raise Failure("%d of %d bytes fetched" % (wire, size))
            right_view(node, two, layers(new))
        finally:
            node.stop()

    def repeats():
        twice, part = noise(21, 3 * MB), noise(22, 2 * MB)
        def layer(t):
            images.add(t, "one", data=twice)
            images.add(t, "small", data=noise(23, 9000))
            images.add(t, "parts", data=noise(24, 500000) + part + noise(25, 400000) + part + noise(26, 300000))
            images.add(t, "dir/two", data=twice)
            images.add(t, "dir/small", data=noise(23, 9000))
            images.add(t, "dir/other", data=noise(27, 200000), mode=0o600)
        layers = [images.tar(layer)]
        image = push("repeats", layers)["zstd:chunked"]
        for filesystem in FILESYSTEMS:
            stores = disk(filesystem)
            wire, _ = counted(lambda: stores.pull(image, to="tree"))
            floor, metadata = Content(image).missing()
            check_bytes("repeats on " + filesystem, wire, floor, metadata)
            right_tree(layers, stores.path("tree"), stores.path("expected"))
            for name in ("one", "small"):
                (one,), (two,) = stores.layer_files(name)[:1], stores.layer_files({"one": "two", "small": "other"}[name])[:1]
                if os.stat(one).st_ino == os.stat(two).st_ino or os.stat(one).st_nlink != 1:
                    raise Failure("%s is linked" % name)

    def planned(node):
        jobs = json.loads(run(BINARY, "status", "--address", node.ours, "--json").stdout)["jobs"]
        return any(job["phase"] == "writing" for job in jobs)

    def both_at_once(node, one, two):
        """Pulls both at the same time on a thin line; gives what they said of failures, in this order."""
        failed = [None, None]
        def pull(number, image):
            try:
                node.nerdctl("pull", "-q", image.name)
            except Failure as failure:
                failed[number] = failure
        ask("/set?rate=60&rtt=10")
        ask("/reset")
        try:
            pulls = [threading.Thread(target=pull, args=pair) for pair in enumerate((one, two))]
            pulls[0].start()
            # The first plans before the second: it has when it fetches what its plan says, or has failed.
            wait_for("the first pull's plan", lambda: planned(node) or not pulls[0].is_alive(), 120)
            pulls[1].start()
            for thread in pulls:
                thread.join()
        finally:
            ask("/set?rate=0&rtt=0")
        return failed

    def right_view(node, image, layers):
        undo = node.mounted(image, "chunked", node.path("view"))
        try:
            right_tree(layers, node.path("view"), node.path("expected"))
        finally:
            undo()

    def at_once():
        node = Node(lab, "2.4", [address], name="at-once")
        try:
            one, two = v1["zstd:chunked"], v2["zstd:chunked"]
            for failure in filter(None, both_at_once(node, one, two)):
                raise failure
            wire = sum(r["body"] for r in ask("/log") if "/blobs/" in r["path"] and r.get("range"))
            first, second = Content(one), Content(two)
            # Of the changed large file the unchanged chunks are in no layer of the store yet: only whole files are shared.
            new = sum(size for key, size in second.files.items() if key not in first.files)
            check_bytes("two pulls at once", wire, first.missing()[0] + new, first.metadata + second.metadata)
            right_view(node, one, application(1))
            right_view(node, two, application(2))
        finally:
            node.stop()

    def one_fails():
        """The pull that others wait for brings wrong bytes: it fails, and the others fetch for themselves."""
        node = Node(lab, "2.4", [address], name="one-fails")
        try:
            one, two = v1["zstd:chunked"], v2["zstd:chunked"]
            layer = one.manifest["layers"][1]
            with flipped(lab, layer["digest"], layer["size"] * 3 // 4):
                failed = both_at_once(node, one, two)
            if failed[0] is None or failed[1] is not None:
                raise Failure("of a bad and a good pull failed: %s" % failed)
            right_view(node, two, application(2))
            if node.staging():
                raise Failure("left in staging: %s" % node.staging())
        finally:
            node.stop()

    def tampered():
        stores = disk("xfs")
        one, two = v1["zstd:chunked"], v2["zstd:chunked"]
        stores.pull(one)
        def damage(name, work):
            (path,) = stores.layer_files(name)
            kept = os.stat(path)
            work(path)
            if os.path.isfile(path) and not os.path.islink(path):
                os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
        def in_place(path):
            with open(path, "r+b") as f:
                f.seek(os.path.getsize(path) // 2)
                f.write(b"changed")
        def replaced(path):
            size = os.path.getsize(path)
            os.unlink(path)
            with open(path, "wb") as f:
                f.write(noise(1, size))
        def other(make):
            return lambda path: (os.unlink(path), make(path))
        damage("f7", in_place)
        damage("f8", replaced)
        damage("f9", lambda path: os.truncate(path, 5))
        damage("f10", os.unlink)
        damage("f11", other(os.mkfifo))
        damage("f12", other(lambda path: os.symlink("/etc/passwd", path)))
        damage("f13", other(lambda path: os.symlink("f14", path)))
        damage("big", in_place)
        wire, _ = counted(lambda: stores.pull(two, to="tree"))
        floor, metadata = Content(two).missing(Content(one))
        print("    fetched %d for a floor of %d with sound donors" % (wire, floor + metadata))
        right_tree(application(2), stores.path("tree"), stores.path("expected"))
        # A tree full of bad files: read before planning, so that they are fetched in few requests.
        stores.clear()
        stores.pull(one)
        for i in range(300):
            damage("f%d" % i, in_place)
        wire, _ = counted(lambda: stores.pull(two, to="tree"))
        right_tree(application(2), stores.path("tree"), stores.path("expected"))

    def traps():
        """A file that equals another's first chunk; a hard link's would-be target with other metadata."""
        big = noise(41, 3 * MB)
        def first(t):
            images.add(t, "srv/big", data=big)
            images.add(t, "srv/same", data=b"s" * 5000, mode=0o644, mtime=1700000000)
            images.add(t, "srv/capable", data=b"c" * 5000, mode=0o755)
            images.add(t, "srv/plain", data=b"p" * 5000, mode=0o644)
        one = push("trap1", [images.tar(first)])["zstd:chunked"]
        entries, _ = toc(one, one.manifest["layers"][0])
        (length,) = [entry["chunkSize"] for entry in entries if entry["name"] == "srv/big" and entry["type"] == "reg"]
        def second(t):
            images.add(t, "srv/start", data=big[:length])
            images.add(t, "srv/rest", data=big[length:])
            images.add(t, "srv/same", data=b"s" * 5000, mode=0o600, uid=5, mtime=1600000000)
            images.add(t, "srv/touched", data=b"s" * 5000, mode=0o644, mtime=1600000001)
            images.add(t, "srv/capable", data=b"c" * 5000, mode=0o755, xattrs={"security.capability": images.CAPABILITY})
            images.add(t, "srv/plain", data=b"p" * 5000, mode=0o644)
        layers = {1: [images.tar(first)], 2: [images.tar(second)]}
        for format in ("zstd:chunked", "gzip"):
            two = push("trap2", layers[2], [format])[format]
            for filesystem in FILESYSTEMS:
                stores = disk(filesystem)
                stores.pull(one)
                stores.pull(two, to="tree")
                right_tree(layers[2], stores.path("tree"), stores.path("expected"))
                stores.pull(one, to="tree")
                right_tree(layers[1], stores.path("tree"), stores.path("expected"))
                links = [os.stat(path).st_nlink for path in stores.layer_files("plain")]
                if links != [2, 2]:
                    raise Failure("%s: equal files of two images are not linked: %s" % (filesystem, links))

    for filesystem in FILESYSTEMS:
        yield "an update on %s fetches at most 1.05 times the floor" % filesystem, lambda f=filesystem: update(f)
    yield "of a large file only the changed chunks are fetched", large_file
    for filesystem in FILESYSTEMS:
        for format in ("zstd:chunked", "gzip"):
            yield "the same content in other layers on %s, %s" % (filesystem, format), \
                lambda f=filesystem, g=format: other_cuts(f, g, 0.10 if f == "ext4" else 0.03)
    for format in ("gzip", "zstd"):
        yield "a large file of a %s layer gives its unchanged chunks to a chunked one" % format, lambda f=format: plain_then_chunked(f)
    yield "what comes twice in a layer is fetched once", repeats
    yield "two pulls at once fetch each byte once", at_once
    yield "a pull that fails leaves those that wait for its files whole", one_fails
    yield "tampered donors give a right tree", tampered
    yield "a first chunk that is another's file; links with other metadata", traps
