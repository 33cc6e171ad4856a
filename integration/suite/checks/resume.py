"""What one try fetched, the next does not fetch again; what pulls share comes once. Counted at the registry."""
import os
import random
import signal
import subprocess

import images
from lab import Failure, Node, TOOLS, wait_for

# What connections, channels and workers hold when the daemon dies: fetched, and not in any file.
IN_FLIGHT = 4 << 20


def pulling(node, image):
    """A client that pulls, not waited for."""
    return subprocess.Popen([os.path.join(TOOLS, "nerdctl"), "-a", node.socket, "--data-root", node.path("nerdctl"),
                             "--insecure-registry", "--snapshotter", "chunked", "pull", "-q", image.name],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **node.env()})


def files(seed, count, size):
    def build(t):
        for i in range(count):
            images.add(t, "srv/f%03d" % i, data=random.Random(seed + i).randbytes(size))
    return images.tar(build)


def checks(lab, registry):
    address, ask = lab.proxy(registry)

    def served(layer):
        return ask("/stats")["body_of"].get(layer["digest"], 0)

    def killed():
        # Many files, and one whose middle the kill is likely to hit.
        def build(t):
            for i in range(150):
                images.add(t, "srv/f%03d" % i, data=random.Random(i).randbytes(160_000))
            images.add(t, "srv/long", data=random.Random(-1).randbytes(24_000_000))
        big = images.push(lab, registry, "resumed", [images.tar(build)], ["zstd:chunked"])["zstd:chunked"].through(address)
        layer = big.manifest["layers"][0]
        for part in (0.3, 0.8):
            # A new one each time: it has not seen this line faster than it is now.
            node = Node(lab, "2.4", [address], name="resume")
            try:
                ask("/reset")
                ask("/set?rate=64&rtt=5")
                client = pulling(node, big)
                wait_for("a part of the layer", lambda: served(layer) > part * layer["size"], 60)
                os.kill(node.daemon.pid, signal.SIGKILL)
                node.daemon.child.wait()
                client.communicate(timeout=60)
                first = served(layer)
                ask("/set?rate=0&rtt=0")
                ask("/reset")
                node.start_daemon()
                wait_for("the start to clear staging", lambda: not node.staging())
                node.nerdctl("pull", "-q", big.name)
                second = served(layer)
                print("    %d bytes before the kill, %d after it, the layer has %d: %.3f" % (
                    first, second, layer["size"], (first + second) / layer["size"]))
                if first + second > layer["size"] + IN_FLIGHT:
                    raise Failure("%d + %d bytes served of a layer of %d" % (first, second, layer["size"]))
                if os.listdir(os.path.join(node.root, "partial")):
                    raise Failure("something is left of the first try")
            finally:
                ask("/set?rate=0&rtt=0")
                node.stop()

    def ten_at_once():
        shared = [files(1000, 60, 50_000), files(2000, 60, 50_000)]
        ten = [images.push(lab, registry, "ten%d" % n, shared + [files(10_000 * (n + 1), 5, 50_000)], ["zstd:chunked"])
               ["zstd:chunked"].through(address) for n in range(10)]
        node = Node(lab, "2.4", [address], name="ten")
        try:
            ask("/reset")
            ask("/set?rate=100&rtt=5")
            clients = [pulling(node, image) for image in ten]
            for client in clients:
                said = client.communicate(timeout=120)[1]
                if client.returncode:
                    raise Failure("a pull failed: %s" % said)
            bytes_of = ask("/stats")["body_of"]
            layers = {layer["digest"]: layer["size"] for image in ten for layer in image.manifest["layers"]}
            for digest, size in layers.items():
                if bytes_of.get(digest, 0) > size:
                    raise Failure("layer %s of %d bytes: %d served" % (digest, size, bytes_of[digest]))
            total = sum(bytes_of.get(digest, 0) for digest in layers)
            print("    %d layers with %d bytes, %d served" % (len(layers), sum(layers.values()), total))
        finally:
            ask("/set?rate=0&rtt=0")
            node.stop()

    yield "kill -9 in the middle of a layer: the next try fetches the rest", killed
    yield "ten pulls at once: what they share is served once", ten_at_once
