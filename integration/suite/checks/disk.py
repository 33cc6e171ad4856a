"""The disk: room is made when it is needed, on every filesystem, with and without a daemon; what is promised is freed."""
import json
import os
import sqlite3
import subprocess
import time

import images
from lab import BINARY, Failure, Node, run, wait_for

FILESYSTEMS = ("xfs", "ext4", "btrfs")
MIB = 1 << 20
# The host's files are left alone, so that what is pulled takes room.
ALONE = '[host]\npolicy = "off"\n'


def ours(node, *arguments):
    return json.loads(run(BINARY, *arguments, "--json", "--address", node.ours).stdout)


def free(path):
    os.sync()
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def noise(name, count, size, start=0):
    """A layer of files that no compressor makes smaller."""
    def build(t):
        images.add(t, name + "/", images.D, mode=0o755)
        for n in range(start, start + count):
            images.add(t, "%s/f%d" % (name, n), data=os.urandom(size))
    return images.tar(build)


def checks(lab, registry):
    disks = {}

    def disk(filesystem):
        """A filesystem for everything but the checks that fill one."""
        if filesystem not in disks:
            disks[filesystem] = lab.disk(filesystem)
        return disks[filesystem]

    def push(name, *layers):
        return images.push(lab, registry, name, list(layers), ["gzip"])["gzip"]

    image = push("room", noise("a", 5, 10 * MIB))
    first, second = push("promise1", noise("p", 60, MIB)), push("promise2", noise("q", 3, 20 * MIB))

    def pull(node, image):
        node.ctr("images", "pull", "--snapshotter", "chunked", image.name)

    def idle(filesystem):
        """Nobody calls after the image is removed: what is beyond the quota goes when its grace ends."""
        where = disk(filesystem)
        node = Node(lab, "2.4", [registry], name="idle-" + filesystem, root=os.path.join(where, "idle"),
                    store='unused_grace = "5s"\nunused_bytes = "0B"\nkeep_free_percent = 0\n')
        try:
            pull(node, image)
            before, removed = free(where), time.monotonic()
            node.ctr("images", "rm", "--sync", image.name)
            time.sleep(2)
            # Looked at too late, it may be gone rightly.
            if not ours(node, "store", "ls")["layers"] and time.monotonic() - removed < 5:
                raise Failure("the layer went before its grace ended")
            wait_for("room", lambda: not ours(node, "store", "ls")["layers"], 65)
            wait_for("free space", lambda: free(where) - before > 0.99 * 50 * MIB, 5)
        finally:
            node.stop()

    def short(filesystem):
        """Below the mark everything unused goes within seconds, whatever grace and quota say, and what broken pulls left."""
        where = disk(filesystem)
        node = Node(lab, "2.4", [registry], name="short-" + filesystem, root=os.path.join(where, "short"),
                    store='unused_grace = "1h"\nunused_bytes = "1TiB"\nkeep_free_percent = 90\n')
        filler = os.path.join(where, "filler")
        run("fallocate", "-l", "600M", filler)
        try:
            pull(node, image)
            if not ours(node, "store", "ls")["layers"]:
                raise Failure("a layer in use went")
            left = os.path.join(node.root, "partial", "777")
            os.makedirs(os.path.join(left, "fs"))
            with open(os.path.join(left, "resume.json"), "w") as f:
                json.dump({"version": 1, "diff_id": "sha256:" + "0" * 64}, f)
            node.ctr("images", "rm", "--sync", image.name)
            wait_for("room", lambda: not ours(node, "store", "ls")["layers"] and not os.path.exists(left), 5)
        finally:
            node.stop()
            os.remove(filler)

    def promised(filesystem):
        """What `store ls` says of unused layers is what `prune` frees."""
        where = disk(filesystem)
        root = os.path.join(where, "promised")
        def direct(*arguments):
            done = run(BINARY, *arguments, "--root", root)
            return json.loads(done.stdout) if "--json" in arguments else done.stdout
        config = os.path.join(where, "promised.toml")
        with open(config, "w") as f:
            f.write(ALONE)
        for pulled in (first, second):
            run(BINARY, "pull", pulled.name, "--config", config, "--root", root)
        with sqlite3.connect(os.path.join(root, "state.db")) as db:
            db.execute("DELETE FROM snapshots")
        db.close()
        left = os.path.join(root, "partial", "777", "fs")
        os.makedirs(left)
        with open(os.path.join(left, "f"), "wb") as f:
            f.write(os.urandom(5 * MIB))
        with open(os.path.join(root, "partial", "777", "resume.json"), "w") as f:
            json.dump({"version": 1, "diff_id": "sha256:" + "0" * 64}, f)
        listed = direct("store", "ls", "--json")
        layers = listed["layers"]
        if [layer["inodes"] for layer in sorted(layers, key=lambda layer: layer["inodes"])] != [5, 62]:
            raise Failure("inodes as counted: %s" % layers)
        promise = sum(layer["own_bytes"] for layer in layers) + listed["partial"]["bytes"]
        before = free(where)
        pruned = direct("prune", "--all", "--json")
        freed = free(where) - before
        if pruned["layers"] != 2 or pruned["partial"] != 1 or os.listdir(os.path.join(root, "partial")):
            raise Failure("pruned: %s" % pruned)
        if abs(freed - promise) > promise // 100:
            raise Failure("%d bytes were promised, %d are free" % (promise, freed))
        if abs(pruned["freed_bytes"] - freed) > promise // 100:
            raise Failure("prune says that it freed %d bytes, statfs %d" % (pruned["freed_bytes"], freed))

    # What three versions have in common: whole files, and most of a large one.
    common = [os.urandom(4 * MIB) for _ in range(8)]
    large = [os.urandom(MIB) for _ in range(24)]
    def version(n, with_large):
        def build(t):
            images.add(t, "v/", images.D, mode=0o755)
            for number, data in enumerate(common[n:n + 6]):
                images.add(t, "v/common%d" % (n + number), data=data)
            if with_large:
                images.add(t, "v/large", data=b"".join(os.urandom(MIB) if number == n else part for number, part in enumerate(large)))
            images.add(t, "v/own", data=os.urandom(10 * MIB))
        return images.tar(build)
    def versions(large):
        """`large`: they share parts of a large file, too."""
        name = "version%s%s" % ("-large" if large else "", "%d")
        return [images.push(lab, registry, name % n, [version(n, large)], ["zstd:chunked"])["zstd:chunked"] for n in range(3)]

    def shared(filesystem):
        """What `store ls` says that pruning frees is true also where layers that go share with each other, and with one that stays."""
        where = disk(filesystem)
        # btrfs keeps the whole of a large extent as long as a part of it is used, and does not tell.
        pushed = versions(filesystem != "btrfs")
        root, config = os.path.join(where, "shared"), os.path.join(where, "shared.toml")
        with open(config, "w") as f:
            f.write(ALONE)
        def direct(*arguments):
            return json.loads(run(BINARY, *arguments, "--root", root, "--json").stdout)
        for pulled in pushed:
            run(BINARY, "pull", pulled.name, "--config", config, "--root", root)
        def unused(*numbers):
            diffs = [pushed[number].config["rootfs"]["diff_ids"][0] for number in numbers]
            with sqlite3.connect(os.path.join(root, "state.db")) as db:
                db.execute("DELETE FROM snapshots WHERE layer IN (SELECT id FROM layers WHERE diff_id IN (%s))" % ", ".join(
                    "x'%s'" % diff.split(":")[1] for diff in diffs))
            db.close()
        for numbers in ((0, 1), (2,)):
            unused(*numbers)
            listed = direct("store", "ls")
            by_rows = sum(layer["own_bytes"] for layer in listed["layers"] if not layer["snapshots"])
            promise, before = listed["reclaimable_bytes"], free(where)
            pruned = direct("prune", "--all")
            freed = free(where) - before
            print("    %s: by rows %d, promised %d, freed %d" % (filesystem, by_rows, promise, freed))
            if pruned["layers"] != len(numbers) or abs(freed - promise) > promise // 100:
                raise Failure("%d bytes were promised, %d are free; pruned: %s" % (promise, freed, pruned))
            if abs(pruned["bytes"] - freed) > promise // 100:
                raise Failure("prune says that %d bytes became free, statfs says %d" % (pruned["bytes"], freed))
            if numbers == (0, 1) and by_rows - freed < 10 * MIB:
                raise Failure("the layers share nothing: by their rows %d, freed %d" % (by_rows, freed))

    small = [push("small%d" % n, noise("s%d" % n, 9, 10 * MIB)) for n in range(2)]
    fits = push("fits", noise("f", 15, 10 * MIB))
    big = push("big", *[noise("b%d" % n, 20, 10 * MIB) for n in range(3)])

    def full(filesystem):
        """A 150 MiB image goes into a small filesystem that holds 180 MiB of unused layers; one of 600 MiB does not."""
        where = lab.disk(filesystem, "330M" if filesystem == "xfs" else "300M", lab.path("full-" + filesystem))
        root, config = os.path.join(where, "root"), lab.path("full-%s.toml" % filesystem)
        with open(config, "w") as f:
            f.write(ALONE + "[store]\nkeep_free_percent = 0\n")
        def ran(*arguments):
            return run(BINARY, *arguments, "--config", config, "--root", root, check=False)
        for pulled in small:
            done = ran("pull", pulled.name)
            if done.returncode:
                raise Failure("a first pull failed: %s" % done.stderr)
        with sqlite3.connect(os.path.join(root, "state.db")) as db:
            db.execute("DELETE FROM snapshots")
        db.close()
        done = ran("pull", fits.name)
        if done.returncode:
            raise Failure("no room was made: %s" % done.stderr)
        sound = ran("store", "verify", "--contents", "--json")
        if sound.returncode:
            raise Failure("the store is not sound: %s" % sound.stdout)
        done = ran("pull", big.name)
        text = done.stderr.strip().splitlines()[-1]
        if not done.returncode or text.count("No space") > 1 or text.count("no room") != 1 or "MiB more" not in text:
            raise Failure("exit %d, and this is what it says: %s" % (done.returncode, text))
        for place in ("staging", "trash", "partial"):
            if os.listdir(os.path.join(root, place)):
                raise Failure("left in %s: %s" % (place, os.listdir(os.path.join(root, place))))
        if len(json.loads(ran("store", "ls", "--json").stdout)["layers"]) != 1:
            raise Failure("a layer in use went, or a broken one stayed")
        run("umount", where)

    address, ask = lab.proxy(registry)
    going_on = images.push(lab, registry, "goes-on", [noise("g", 60, 5 * MIB // 2)], ["zstd:chunked"])["zstd:chunked"].through(address)

    def goes_on(filesystem):
        """A pull that found the disk full goes on, once there is room, with what it had."""
        where = lab.disk(filesystem, "330M" if filesystem == "xfs" else "300M", lab.path("goes-on-" + filesystem))
        root, config = os.path.join(where, "root"), lab.path("goes-on-%s.toml" % filesystem)
        with open(config, "w") as f:
            f.write(ALONE + "[store]\nkeep_free_percent = 0\n")
        for pulled in small:
            run(BINARY, "pull", pulled.name, "--config", config, "--root", root)
        with sqlite3.connect(os.path.join(root, "state.db")) as db:
            db.execute("DELETE FROM snapshots")
        db.close()
        # What is on its way when the disk is full is lost: not much of it on such a line.
        ask("/set?rate=400")
        ask("/reset")
        done = run(BINARY, "pull", going_on.name, "--config", config, "--root", root, check=False)
        ask("/set?rate=0")
        if done.returncode:
            raise Failure("exit %d, no room was made: %s%s" % (done.returncode, done.stdout, done.stderr))
        blob = going_on.manifest["layers"][0]
        fetched = sum(size for digest, size in ask("/stats")["body_of"].items() if digest.endswith(blob["digest"].split(":")[1]))
        print("    %s: %d bytes of %d fetched, %.3f" % (filesystem, fetched, blob["size"], fetched / blob["size"]))
        if fetched > 1.2 * blob["size"]:
            raise Failure("%d bytes were fetched for %d" % (fetched, blob["size"]))
        if "trying again" not in done.stderr and "going on" not in done.stderr:
            raise Failure("the disk was never full: %s" % done.stderr)
        sound = run(BINARY, "store", "verify", "--contents", "--json", "--root", root, check=False)
        if sound.returncode or os.listdir(os.path.join(root, "partial")):
            raise Failure("afterwards: %s %s" % (sound.stdout, os.listdir(os.path.join(root, "partial"))))
        run("umount", where)

    def fill(where):
        """Leaves not a byte free, what somebody gave up included."""
        filler = os.path.join(where, "filler")
        for size in ("1M", "512"):
            subprocess.run(["dd", "if=/dev/zero", "of=" + filler, "bs=" + size, "oflag=append", "conv=notrunc"],
                           stderr=subprocess.DEVNULL, check=False)
        return filler

    def brim(filesystem):
        """Rows are asked for while others take each byte that becomes free: some cannot be written, and the daemon lives. The kernel kills
        who writes to a mapped file for which btrfs finds no block."""
        where = lab.disk(filesystem, "330M" if filesystem == "xfs" else "300M", lab.path("rows-disk-" + filesystem))
        node = Node(lab, "2.4", [registry], name="rows-" + filesystem, root=os.path.join(where, "root"), store="keep_free_percent = 0\n")
        def prepare(name, check):
            return node.ctr("snapshots", "--snapshotter", "chunked", "prepare", name, check=check)
        try:
            for number in range(6):
                filler = fill(where)
                run("sync", "-f", where)
                prepare("row%d" % number, check=False)
                if not node.daemon.alive():
                    raise Failure("the daemon died at row %d: %s" % (number, node.daemon.text()[-1000:]))
            os.remove(filler)
            run("sync", "-f", where)
            prepare("last", check=True)
        finally:
            node.stop()
            run("umount", "-l", where)

    def removal(filesystem):
        """Images can be removed while not a byte is free, and that frees theirs."""
        where = lab.disk(filesystem, "330M" if filesystem == "xfs" else "300M", lab.path("brim-" + filesystem))
        node = Node(lab, "2.4", [registry], name="removal-" + filesystem, root=os.path.join(where, "root"),
                    store='unused_grace = "1h"\nunused_bytes = "1TiB"\nkeep_free_percent = 20\n')
        try:
            pull(node, image)
            filler = fill(where)
            node.ctr("images", "rm", "--sync", image.name)
            # What ext4 keeps for root was taken, too.
            wait_for("room", lambda: os.statvfs(where).f_bfree * os.statvfs(where).f_frsize > 49 * MIB, 10)
            if ours(node, "status")["snapshots"]:
                raise Failure("snapshots stayed")
            if not node.daemon.alive():
                raise Failure("the daemon died: %s" % node.daemon.text()[-1000:])
            os.remove(filler)
            pull(node, image)
        finally:
            node.stop()
            run("umount", "-l", where)

    yield from (("%s (%s)" % (title, filesystem), lambda check=check, filesystem=filesystem: check(filesystem))
                for title, check in (("an idle node makes room", idle), ("a short disk waits for nothing", short),
                                     ("what is promised is freed", promised), ("what is shared is promised once", shared),
                                     ("a full disk is no reason to begin anew", goes_on),
                                     ("a full disk makes room for a pull", full),
                                     ("images are removed on a full disk", removal), ("rows on a full disk", brim))
                for filesystem in FILESYSTEMS)
