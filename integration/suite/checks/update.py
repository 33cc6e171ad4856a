"""An update fetches what changed, counted at the registry; dying in the middle loses nothing."""
import os
import signal
import time

import images
from lab import Failure, Node, run, wait_for

POSITION = "io.github.containers.zstd-chunked."


def entries(image, layer):
    """Files of a layer's TOC: {(digest, size): compressed bytes}, and the bytes of TOC and tar-split."""
    import json
    import subprocess
    toc = [int(x) for x in layer["annotations"][POSITION + "manifest-position"].split(":")]
    split = [int(x) for x in layer["annotations"][POSITION + "tarsplit-position"].split(":")]
    blob = image.bytes("blobs/" + layer["digest"])
    text = subprocess.run(["zstd", "-dc"], input=blob[toc[0]:toc[0] + toc[1]], capture_output=True, check=True).stdout
    files = {}
    for entry in json.loads(text)["entries"]:
        if entry["type"] == "reg" and entry.get("size"):
            files[entry["digest"], entry["size"]] = entry["endOffset"] - entry["offset"]
    return files, toc[1] + split[1]


def checks(lab, registry):
    address, ask = lab.proxy(registry)
    v1 = images.push(lab, registry, "up1", images.application(1), ["zstd:chunked"])["zstd:chunked"]
    v2 = images.push(lab, registry, "up2", images.application(2), ["zstd:chunked"])["zstd:chunked"]

    def bytes_of_an_update():
        node = Node(lab, "2.4", [address], name="update")
        try:
            node.nerdctl("pull", "-q", v1.through(address).name)
            ask("/reset")
            node.nerdctl("pull", "-q", v2.through(address).name)
            counted = sum(r["body"] for r in ask("/log") if "/blobs/" in r["path"] and r.get("range"))
            known, metadata = entries(v1, v1.manifest["layers"][1])
            wanted, metadata = entries(v2, v2.manifest["layers"][1])
            missing = sum(size for key, size in wanted.items() if key not in known)
            changed = missing / sum(wanted.values())
            print("    %.1f %% of the bytes changed; counted %d, floor %d: %.3f" % (
                100 * changed, counted, missing + metadata, counted / (missing + metadata)))
            if not 0.02 < changed < 0.10:
                raise Failure("the update is not the one this check is about: %g" % changed)
            if not 0.9 <= counted / (missing + metadata) <= 1.05:
                raise Failure("counted %d bytes at the registry, the floor is %d" % (counted, missing + metadata))
        finally:
            node.stop()

    def killed_in_the_middle():
        node = Node(lab, "2.4", [address], name="kill")
        try:
            node.nerdctl("pull", "-q", v1.through(address).name)
            node.nerdctl("run", "-d", "--name", "sleeper", "--net", "none", v1.through(address).name, "/bin/hello", "sleep")
            big = images.push(lab, registry, "big", images.odd_layers(True), ["zstd:chunked"])["zstd:chunked"].through(address)
            ask("/set?rate=8&rtt=5")
            import subprocess
            pull = subprocess.Popen([os.path.join(os.path.dirname(node.bin), "nerdctl"), "-a", node.socket, "--data-root",
                                     node.path("nerdctl"), "--insecure-registry", "--snapshotter", "chunked", "pull", "-q", big.name],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **node.env()})
            wait_for("the pull to write", lambda: bool(node.staging()))
            time.sleep(1)
            os.kill(node.daemon.pid, signal.SIGKILL)
            node.daemon.child.wait()
            pull.wait(60)
            ask("/set?rate=0&rtt=0")
            if "sleeper" not in node.nerdctl("ps").stdout:
                raise Failure("the container died with the daemon")
            node.start_daemon()
            node.nerdctl("pull", "-q", big.name)
            if node.nerdctl("exec", "sleeper", "/bin/hello").stdout != "hello from version 1\n":
                raise Failure("the running container lost its files")
            # Right after the commits of that pull: what containerd was told must be there.
            os.kill(node.daemon.pid, signal.SIGKILL)
            node.daemon.child.wait()
            node.start_daemon()
            node.nerdctl("run", "--rm", "--net", "none", big.name, "/bin/hello")
            node.nerdctl("rm", "-f", "sleeper")
            no_orphans(node)
        finally:
            ask("/set?rate=0&rtt=0")
            node.stop()

    def no_orphans(node):
        for line in node.ctr("images", "ls", "-q").stdout.split():
            node.ctr("images", "rm", "--sync", line)
        def empty():
            node.ctr("content", "prune", "references", check=False)
            return not os.listdir(os.path.join(node.root, "snapshots"))
        wait_for("Cleanup to delete every directory", empty, 20)
        if node.staging():
            raise Failure("left in staging: %s" % node.staging())

    yield "an update fetches no more than 1.05 times what is missing", bytes_of_an_update
    yield "kill -9 in the middle of a pull and right after it", killed_in_the_middle
