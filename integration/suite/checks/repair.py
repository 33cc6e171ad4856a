"""Damaged files of layers in use are fetched again and put into their places, under a running container."""
import glob
import json
import os
import random

import images
from lab import BINARY, Failure, Node, run

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


def checks(lab, registry):
    address, ask = lab.proxy(registry)
    contents = {"f%03d" % i: random.Random(70 + i).randbytes(40_000 + 900 * i) for i in range(200)}
    def files(t):
        images.add(t, "srv/", images.D, mode=0o755)
        for name, data in contents.items():
            images.add(t, "srv/" + name, data=data)
    layers = [images.application(1)[0], images.tar(files)]
    pushed = images.push(lab, registry, "repair", layers, ["zstd:chunked", "gzip"])

    def repaired(format, most):
        image = pushed[format].through(address)
        node = Node(lab, "2.4", [address], name="repair-" + image.tag)
        container = "mended-%s-%d" % (image.tag, os.getpid())
        try:
            node.nerdctl("pull", "-q", image.name)
            node.ctr("run", "-d", "--snapshotter", "chunked", image.name, container, "/bin/hello", "sleep")
            tree = os.path.dirname(glob.glob(node.root + "/snapshots/*/fs/srv/f000")[0])
            damaged = random.Random(7).sample(sorted(contents), FILES)
            before = os.stat(tree)
            for name in damaged:
                flip(os.path.join(tree, name))
            found = verify(node)
            expect("verify found %s" % found, found["left"] == 1 and any(name in found["problems"][0]["text"] for name in damaged))
            ask("/reset")
            found = verify(node, "--repair")
            fetched = sum(ask("/stats")["body_of"].values())
            size = sum(len(contents[name]) for name in damaged)
            print("    %d files of %d bytes: %d bytes fetched, %.3f" % (FILES, size, fetched, fetched / size))
            expect("left: %s" % found, found["left"] == 0 and found["problems"])
            expect("%d bytes fetched for %d" % (fetched, size), fetched <= most(size, image))
            for name, data in contents.items():
                with open(os.path.join(tree, name), "rb") as f:
                    expect(name + " is not right", f.read() == data)
            after = os.stat(tree)
            expect("the directory's time changed", before.st_mtime_ns == after.st_mtime_ns)
            expect("problems are left: %s" % verify(node), not verify(node)["problems"])
            tasks = node.ctr("tasks", "ls").stdout
            expect("the container does not run any more: " + tasks, container in tasks and "RUNNING" in tasks)
            others = [path for path in glob.glob(node.root + "/snapshots/*/fs/srv/f000")]
            expect("the layer is there twice: %s" % others, len(others) == 1)
        finally:
            node.ctr("tasks", "rm", "-f", container, check=False)
            node.stop()

    yield "repair fetches damaged files alone, under a running container", lambda: repaired(
        "zstd:chunked", lambda size, image: 1.1 * size)
    yield "repair of a layer without a TOC fetches it whole", lambda: repaired(
        "gzip", lambda size, image: 1.01 * image.manifest["layers"][1]["size"])
