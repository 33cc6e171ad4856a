"""What pulls cost, in bytes and memory: the benchmark's assertions that need no quiet machine (`make bench-quick`)."""
import random

import images
from lab import Failure, Node
from memory import high_water

from checks.reuse import Content

MIB = 1 << 20
# The daemon's peak in every cell, whatever is pulled, at the settings that it has by itself.
MOST_MEMORY = 192 * MIB
# What an update may fetch, as a share of what the node lacks.
MOST_BYTES = 1.05


def small_files(version):
    """Files of 4 to 16 kB in many directories; in version 2 three of ten directories are new."""
    def build(t):
        for i in range(8_000):
            if i % 100 == 0:
                images.add(t, "srv/d%d/" % (i // 100), images.D, mode=0o755)
            noise = random.Random(i + 10_000_000 * (version > 1 and i // 100 % 10 < 3))
            words = [noise.randbytes(6).hex() for _ in range(40)]
            images.add(t, "srv/d%d/f%d" % (i // 100, i), data=" ".join(noise.choice(words) for _ in range(300 + i % 900)).encode())
    return [images.tar(build)]


def tiny_files(version):
    """So many files that their table of contents takes most of the memory; in version 2 every tenth directory is new."""
    def build(t):
        for i in range(36_000):
            if i % 300 == 0:
                images.add(t, "srv/node_modules/package-with-a-longer-name-%d/" % (i // 300), images.D, mode=0o755)
            noise = random.Random(i + 10_000_000 * (version > 1 and i // 300 % 10 == 0))
            images.add(t, "srv/node_modules/package-with-a-longer-name-%d/module-%d.js" % (i // 300, i), data=noise.randbytes(700))
    return [images.tar(build)]


def long_files(version):
    """Six layers of one long file each; in version 2 each has a new tenth in its middle and 1 MiB more at its front."""
    def layer(number):
        data = random.Random(number).randbytes(24 * MIB)
        if version > 1:
            fresh = random.Random(100 + number)
            data = fresh.randbytes(MIB) + data[:8 * MIB] + fresh.randbytes(2 * MIB) + data[10 * MIB:]
        return images.tar(lambda t: images.add(t, "srv/long%d" % number, data=data))
    return [layer(number) for number in range(6)]


def checks(lab, registry):
    address, ask = lab.proxy(registry)

    def costs(name, build):
        one, two = (images.push(lab, registry, "%s-%d" % (name, version), build(version), ["zstd:chunked"])["zstd:chunked"].through(address)
                    for version in (1, 2))
        node = Node(lab, "2.4", [address], name="costs-" + name)
        try:
            for what, image in (("first pull", one), ("update", two)):
                with open("/proc/%d/clear_refs" % node.daemon.pid, "w") as f:
                    f.write("5")  # VmHWM starts again
                ask("/reset")
                node.ctr("images", "pull", "--plain-http", "--snapshotter", "chunked", image.name)
                peak, fetched = high_water(node.daemon.pid), ask("/stats")["blob_body"] - len(image.bytes("blobs/" + image.manifest["config"]["digest"]))
                least, floor = Content(image).missing(*([Content(one)] if image is two else []))
                # A first pull may take the blobs whole, headers between the pieces included.
                floor = least + floor if image is two else sum(layer["size"] for layer in image.manifest["layers"])
                ratio = fetched / floor
                print("    %s: %.1f MB fetched, %.3f times the floor; the daemon's peak %d MiB" % (what, fetched / 1e6, ratio, peak // MIB))
                if peak > MOST_MEMORY:
                    raise Failure("%s: the daemon took %d MiB" % (what, peak // MIB))
                if ratio > MOST_BYTES:
                    raise Failure("%s: %d bytes fetched, the floor is %d" % (what, fetched, floor))
                if fetched < least:
                    raise Failure("%s: fewer bytes than are missing were counted: %d of %d" % (what, fetched, least))
        finally:
            node.stop()

    def crowded():
        one, two = (images.push(lab, registry, "tiny-%d" % version, tiny_files(version), ["zstd:chunked"])["zstd:chunked"].through(address)
                    for version in (1, 2))
        node = Node(lab, "2.4", [address], name="costs-tiny", settings='[pull]\nmemory = "64MiB"\n')
        try:
            for image in (one, two):
                ask("/reset")
                node.ctr("images", "pull", "--plain-http", "--snapshotter", "chunked", image.name)
            fetched, size = ask("/stats")["blob_body"], two.manifest["layers"][0]["size"]
            print("    update: %.1f MB of %.1f MB fetched" % (fetched / 1e6, size / 1e6))
            if not 0 < fetched < size / 3:
                raise Failure("%d bytes fetched of a layer of %d" % (fetched, size))
        finally:
            node.stop()

    yield "an update by ranges whose table of contents takes most of the memory", crowded
    yield "pulls of many small files cost few bytes and little memory", lambda: costs("many", small_files)
    yield "pulls of long files cost few bytes and little memory", lambda: costs("large", long_files)
