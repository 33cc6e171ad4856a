"""Damaged files of layers in use are fetched again and put into their places, under a running container; and the scrub does so unasked."""
import collections
import glob
import json
import os
import random
import re
import subprocess
import time

import images
from checks.handover import away
from checks.update import POSITION
from lab import BINARY, Failure, Node, run, wait_for

FILES = 20


def expect(what, condition):
    if not condition:
        raise Failure(what)


def flip(path):
    """Changes one bit of a file without a trace in its times."""
    status = os.stat(path)
    with open(path, "r+b") as f:
        f.seek(status.st_size // 2)
        byte = f.read(1)
        f.seek(status.st_size // 2)
        f.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def verify(node, *more):
    done = run(BINARY, "store", "verify", "--contents", "--address", node.ours, "--json", *more, check=False)
    expect("verify said nothing: %s" % done.stderr, done.stdout.strip())
    return json.loads(done.stdout)


def compressed(image, layer):
    """Files of a layer's TOC, by name: the bytes of blob that they take."""
    start, length = [int(x) for x in layer["annotations"][POSITION + "manifest-position"].split(":")][:2]
    toc = image.bytes("blobs/" + layer["digest"])[start:start + length]
    text = subprocess.run(["zstd", "-dc"], input=toc, capture_output=True, check=True).stdout
    ranges = collections.defaultdict(list)
    for entry in json.loads(text)["entries"]:
        # A file in several pieces has an entry for each.
        if entry["type"] in ("reg", "chunk") and entry.get("endOffset"):
            ranges[entry["name"]].append((entry["offset"], entry["endOffset"]))
    return {name: max(end for _, end in all) - min(begin for begin, _ in all) for name, all in ranges.items()}


def contents(folder, count):
    """Files that compress to about half."""
    def data(dice):
        size = dice.randrange(30_000, 250_000)
        words = [dice.randbytes(6).hex() for _ in range(200)]
        return (" ".join(dice.choices(words, k=size // 20)).encode() + dice.randbytes(size // 3))
    return {"%s/f%03d" % (folder, n): data(random.Random("%s %d" % (folder, n))) for n in range(count)}


def checks(lab, registry):
    address, ask = lab.proxy(registry)
    folders = {"etc": contents("etc", 20), "opt": contents("opt", 80), "srv": contents("srv", 120)}
    everything = {name: data for files in folders.values() for name, data in files.items()}
    def layer(folder):
        def build(t):
            images.add(t, folder + "/", images.D, mode=0o755)
            for name, data in folders[folder].items():
                images.add(t, name, data=data)
            if folder == "etc":
                images.add(t, "bin/", images.D, mode=0o755)
                images.add(t, "bin/hello", data=images.hello(), mode=0o755)
        return images.tar(build)
    pushed = images.push(lab, registry, "repair", [layer(folder) for folder in folders], ["zstd:chunked", "gzip"])

    def places(node):
        """Where the files of the image are on the disk."""
        found = {}
        for name in everything:
            paths = glob.glob("%s/snapshots/*/fs/%s" % (node.root, name))
            expect("%s is in %s" % (name, paths), len(paths) == 1)
            found[name] = paths[0]
        return found

    def running(node, image, container):
        """Starts a container; gives a function that says whether it is still the same process."""
        node.ctr("run", "-d", "--snapshotter", "chunked", image.name, container, "/bin/hello", "sleep")
        task = lambda: next((line.split() for line in node.ctr("tasks", "ls").stdout.splitlines() if line.startswith(container)), None)
        first = task()
        return lambda: expect("the container ran as %s, and is now %s" % (first, task()), task() == first and first[2] == "RUNNING")

    def all_right(where):
        for name, path in where.items():
            with open(path, "rb") as f:
                expect(name + " is not right", f.read() == everything[name])

    def repaired(format, most):
        image = pushed[format].through(address)
        node = Node(lab, "2.4", [address], name="repair-" + image.tag)
        container = "mended-%s-%d" % (image.tag, os.getpid())
        try:
            node.nerdctl("pull", "-q", image.name)
            lives = running(node, image, container)
            where = places(node)
            # Of every lower layer some.
            damaged = sorted(name for folder, count in (("etc", 4), ("opt", 6), ("srv", FILES - 10))
                             for name in random.Random(7).sample(sorted(folders[folder]), count))
            times = {path: os.stat(path).st_mtime_ns for path in map(os.path.dirname, where.values())}
            for name in damaged:
                flip(where[name])
            found = verify(node)
            named = sorted(name for problem in found["problems"] for name in re.findall(r'"([^"]+)"', problem["text"]))
            expect("verify names %s and not %s: %s" % (named, damaged, found), named == damaged and found["left"] == len(folders))
            lives()
            ask("/reset")
            found = verify(node, "--repair")
            fetched, size = sum(ask("/stats")["body_of"].values()), most(image, damaged)
            print("    %d files of %d layers: %d bytes fetched for %d, %.3f" % (FILES, len(folders), fetched, size, fetched / size))
            expect("left: %s" % found, found["left"] == 0 and len(found["problems"]) == len(folders))
            expect("%d bytes fetched for %d" % (fetched, size), fetched <= 1.1 * size)
            lives()
            where = places(node)
            all_right(where)
            for path, time_before in times.items():
                expect("the time of %s changed" % path, os.stat(path).st_mtime_ns == time_before)
            found = verify(node)
            expect("problems are left: %s" % found, not found["problems"])
        finally:
            node.ctr("tasks", "rm", "-f", container, check=False)
            node.stop()

    def of_files(image, damaged):
        sizes = {}
        for layer in image.manifest["layers"]:
            sizes.update(compressed(image, layer))
        return sum(sizes[name] for name in damaged)

    def of_layers(image, damaged):
        return sum(layer["size"] for layer in image.manifest["layers"])

    def scrubbed():
        """Nobody asks: the daemon reads the store, says how far it is, mends what it can, and takes the rest out of use."""
        image = pushed["zstd:chunked"].through(address)
        node = Node(lab, "2.4", [address], name="scrub", store='scrub = "1h"\nscrub_rate = "4MiB"\n')
        container = "scrubbed-%d" % os.getpid()
        said = lambda: json.loads(run(BINARY, "status", "--json", "--address", node.ours).stdout)["scrub"]
        def begin():
            """Starts the daemon long after the last scrub."""
            node.daemon.stop()
            with open(os.path.join(node.root, "scrub.json"), "w") as f:
                json.dump(dict.fromkeys(("at", "layers", "files", "bytes", "problems", "repaired"), 0) | {"at": int(time.time()) - 4000}, f)
            node.start_daemon()
        def done():
            """Waits for the end of a scrub; gives what `status` said meanwhile, and at last."""
            steps = []
            def ended():
                now = said()
                if now["running"]:
                    steps.append(now["running"])
                return now["finished"] and now["finished"] > time.time() - 3000 and not now["running"]
            wait_for("the scrub", ended, 300)
            return steps, said()["last"]
        try:
            node.nerdctl("pull", "-q", image.name)
            lives = running(node, image, container)
            first = said()
            expect("a new store was scrubbed: %s" % first, first["interval"] == 3600 and first["last"]["layers"] == 0 and not first["running"])
            where = places(node)
            flip(where["srv/f007"])
            begin()
            steps, last = done()
            seen = sorted({step["bytes"] for step in steps})
            print("    %d layers, %d bytes; status showed %d steps between %d and %d" % (
                last["layers"], last["bytes"], len(seen), seen[0] if seen else 0, seen[-1] if seen else 0))
            expect("status showed no progress: %s" % seen, len(seen) > 2)
            expect("the scrub found %s" % last, last["layers"] == 3 and (last["problems"], last["repaired"]) == (1, 1))
            expect("the log does not name the file", "scrub: repaired" in node.daemon.text() and "srv/f007" in node.daemon.text())
            all_right(places(node))
            lives()
            # What cannot be had again.
            flip(where["opt/f011"])
            with away(lab, image):
                begin()
                _, last = done()
            expect("the scrub found %s" % last, (last["problems"], last["repaired"]) == (1, 0))
            expect("the log does not name the file", "scrub: problem" in node.daemon.text() and "opt/f011" in node.daemon.text())
            layers = json.loads(run(BINARY, "store", "ls", "--json", "--address", node.ours).stdout)["layers"]
            expect("damaged are %s" % layers, sum(layer["damaged"] for layer in layers) == 1)
            # Another namespace gets it anew; the daemon lives, and so does the container.
            ask("/reset")
            node.nerdctl("--namespace", "other", "pull", "-q", image.name)
            expect("the damaged layer was given to another pull", sum(ask("/stats")["body_of"].values()) > 0)
            new = glob.glob("%s/snapshots/*/fs/opt/f011" % node.root)
            expect("there is one layer with the file: %s" % new, len(new) == 2)
            with open(next(path for path in new if path != where["opt/f011"]), "rb") as f:
                expect("the new one is damaged, too", f.read() == everything["opt/f011"])
            lives()
        finally:
            node.ctr("tasks", "rm", "-f", container, check=False)
            node.stop()

    yield "repair fetches damaged files alone, under a running container", lambda: repaired("zstd:chunked", of_files)
    yield "repair of layers without a TOC fetches them whole", lambda: repaired("gzip", of_layers)
    yield "the scrub finds and mends damage, and says how far it is", scrubbed
