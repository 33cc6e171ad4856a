"""What one image or registry does, others do not pay for with the node's memory: the daemon's peak is measured."""
import json
import os
import random
import subprocess
import sys
import time

import handmade
from lab import BINARY, ROOT, TOOLS, Failure, Node, run, wait_for
from memory import high_water

sys.path.append(os.path.join(ROOT, "integration", "cases"))

from lib.image import ZSTD, Image  # noqa: E402
from lib.registry import Registry, blob_answer  # noqa: E402
from lib.server import Answer  # noqa: E402

MIB = 1 << 20
# [pull] memory: little, so that what is not counted shows; for several registries as much as makes room for sixteen layers.
LITTLE, SEVERAL = 48 * MIB, 96 * MIB
# What the budget does not count (ARCHITECTURE.md, "Memory"), for the sixteen layers and some 40 connections that there are here:
# buffers of connections (400 KiB each), a zstd context and 256 KiB for each of the ten workers or so of a small machine, stacks,
# SQLite's caches, lines of tar-splits, and what the allocator keeps of memory that was given back, which is a part of the
# budget. A daemon that holds what the images here want it to hold takes 190 MiB and more.
UNCOUNTED = 64 * MIB
PADDING = handmade.skippable(bytes(8 * MIB - 8))
PADDED = 24


def image(layers):
    def describe(manifest, _):
        for descriptor, layer in zip(manifest["layers"], layers):
            descriptor["annotations"] = layer.annotations
    return Image(*(layer.tar for layer in layers), kind=ZSTD, packed=[layer.blob for layer in layers], edit=describe)


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def files(seed, number, size):
    return {"f%02d" % n: noise("%s-%d" % (seed, n), size) for n in range(number)}


class Watched:
    """A node whose daemon's peak is compared with what it may take."""

    def __init__(self, lab, name, registries, budget):
        self.budget, settings = budget, '[pull]\nmemory = "%dMiB"\n' % (budget // MIB)
        self.node = Node(lab, "2.4", [registry.address for registry in registries], name=name, settings=settings)
        self.idle = high_water(self.node.daemon.pid)

    def check(self, what):
        peak, allowed = high_water(self.node.daemon.pid), self.idle + self.budget + UNCOUNTED
        print("    %s: %d MiB of %d MiB; %d MiB before" % (what, peak // MIB, allowed // MIB, self.idle // MIB))
        if not 0 < self.idle < peak <= allowed:
            raise Failure("%s: the daemon took %d MiB, allowed are %d" % (what, peak // MIB, allowed // MIB))


def padded(lab, what, layer):
    """Of a layer of 190 MiB next to nothing is content."""
    with Registry() as registry:
        name = registry.add("padded", "v1", image([layer]))
        watched = Watched(lab, "padded-" + what.replace(" ", "-"), [registry], LITTLE)
        try:
            done = watched.node.nerdctl("pull", "-q", name, check=False)
            said = done.stderr + watched.node.daemon.text()[-5000:]
            if done.returncode:
                raise Failure("its blob and DiffID are right, so that it can be pulled whole:\n" + said)
            watched.check(what)
        finally:
            watched.node.stop()


class Drip:
    """A body of one byte a second, for ever, in the pieces that the server asks it for."""

    def __len__(self):
        return 1 << 40

    def __getitem__(self, _):
        time.sleep(1)
        return b"\0"


def stall(answer):
    """All but the last byte: as much as possible is held."""
    return Answer(answer.status, {**answer.headers, "Content-Length": str(len(answer.body))}, answer.body[:-1])


def garbage(answer):
    return Answer(answer.status, answer.headers, noise(len(answer.body), len(answer.body)))


def trickle(answer):
    return Answer(answer.status, answer.headers, Drip(), chunked=True)


LAYERS = 6


def bad(number, spoil):
    layers = [handmade.layer(files("bad%d-%d" % (number, n), 8, MIB)) for n in range(LAYERS)]
    served = image(layers)
    spoiled = set(served.layers)
    def hook(request):
        digest = request.path.rsplit("/", 1)[-1]
        # Tables of contents are right, so that there is something to pull.
        if digest not in spoiled or toc(request, layers[served.layers.index(digest)]):
            return None
        return spoil(blob_answer(request, served.blobs[digest], digest))
    registry = Registry(hook=hook)
    return registry, registry.add("app", "v1", served), served.layers


def toc(request, layer):
    start = layer.annotations[handmade.PREFIX + "manifest-position"].split(":")[0]
    return (request.headers.get("Range") or "").startswith("bytes=%s-" % start)


def three_bad_registries(lab):
    bads = [bad(number, spoil) for number, spoil in enumerate((stall, garbage, trickle))]
    layers = [handmade.layer(files("good%d" % n, 16, MIB), chunk=64 << 10) for n in range(LAYERS)]
    good = Registry()
    name = good.add("app", "v1", image(layers))
    watched = Watched(lab, "three-bad", [good, *(registry for registry, _, _ in bads)], SEVERAL)
    node, pulls = watched.node, []
    def jobs():
        return json.loads(run(BINARY, "status", "--address", node.ours, "--json").stdout)["jobs"]
    try:
        for _, reference, _ in bads:
            pulls.append(subprocess.Popen([os.path.join(TOOLS, "nerdctl"), "-a", node.socket, "--data-root", node.path("nerdctl"),
                                           "--insecure-registry", "--snapshotter", "chunked", "pull", "-q", reference],
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **node.env()}))
        # The garbage ends, the other two do not.
        def begun():
            writing = [job["blob"] for job in jobs() if job["phase"] == "writing"]
            return len(writing) >= LAYERS and all(set(writing) & set(blobs) for _, _, blobs in (bads[0], bads[2]))
        wait_for("the stalled ones", begun, 120)
        node.nerdctl("pull", "-q", name)
        if pulls[0].poll() is not None or pulls[2].poll() is not None:
            raise Failure("the stalled registries' pulls have ended before the good one's")
        watched.check("three bad registries beside a good one")
    finally:
        for pull in pulls:
            pull.kill()
            pull.wait()
        node.stop()
        for registry in (good, *(registry for registry, _, _ in bads)):
            registry.close()


def checks(lab, _):
    few = noise("padded", 100 * PADDED)
    for what, make in (
            ("padded chunks", lambda: handmade.layer({"f": few}, chunk=100, padding=PADDING)),
            ("padded files", lambda: handmade.layer(files("padded", PADDED, 100), padding=PADDING)),
            ("one long padding", lambda: handmade.layer({"f": few}, padding=PADDING * PADDED)),
            ("a padded table of contents", lambda: handmade.layer({"f": few}, metadata_padding=PADDING * PADDED))):
        yield "memory: %s cost no more than the budget" % what, lambda w=what, m=make: padded(lab, w, m())
    yield "memory: a stalled, a garbage and a byte-a-second registry beside a good one", lambda: three_bad_registries(lab)
