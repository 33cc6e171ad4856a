"""A wrong byte anywhere fails the pull, by name, and leaves nothing; the next good pull works."""
import contextlib
import hashlib
import json
import os
import re
import subprocess

import images
from lab import Failure, Node

POSITION = "io.github.containers.zstd-chunked."


@contextlib.contextmanager
def flipped(lab, digest, offset):
    """The registry's own file of a blob with one bit changed: this registry serves what is there."""
    digits = digest.split(":")[1]
    path = lab.path("registry", "docker", "registry", "v2", "blobs", "sha256", digits[:2], digits, "data")
    with open(path, "r+b") as f:
        f.seek(offset)
        before = f.read(1)
        f.seek(offset)
        f.write(bytes([before[0] ^ 1]))
    try:
        yield
    finally:
        with open(path, "r+b") as f:
            f.seek(offset)
            f.write(before)


def zstd(mode, data):
    return subprocess.run(["zstd", mode], input=data, capture_output=True, check=True).stdout


def rows(node, root):
    return sorted(name for name in os.listdir(os.path.join(root, "snapshots")))


def checks(lab, registry):
    image = images.push(lab, registry, "attack", images.application(1), ["zstd:chunked"])["zstd:chunked"]
    layer = image.manifest["layers"][1]
    toc = [int(x) for x in layer["annotations"][POSITION + "manifest-position"].split(":")]
    split = [int(x) for x in layer["annotations"][POSITION + "tarsplit-position"].split(":")]
    node = Node(lab, "2.4", [registry], name="attack")

    def fails(target, layer_digest, check):
        before = rows(node, node.root)
        done = node.nerdctl("pull", "-q", target.name, check=False)
        said = done.stderr + node.daemon.text()[-20000:]
        if done.returncode == 0:
            raise Failure("the pull succeeded:\n" + said[-3000:])
        if layer_digest not in done.stderr or not re.search(check, done.stderr):
            raise Failure("the error names not both layer and check %r:\n%s" % (check, said[-2000:]))
        if node.staging():
            raise Failure("left in staging: %s" % node.staging())
        held = node.ctr("snapshots", "--snapshotter", "chunked", "ls").stdout
        if target.chain in held:
            raise Failure("the top layer was committed")
        new = set(rows(node, node.root)) - set(before)
        # The layers below may be there: they were right.
        if len(new) >= len(image.layers):
            raise Failure("directories of a layer that failed: %s" % new)

    def flip(offset, check):
        with flipped(lab, layer["digest"], offset):
            fails(image, layer["digest"], check)
        node.nerdctl("pull", "-q", image.name)
        out = node.says(image).stdout
        if out != "hello from version 1\n":
            raise Failure("after the attack the container printed %r" % out)
        node.forget(image)
        # Without the layer in the store, so that the next check fetches it again.
        node.daemon.stop()
        node.start_daemon()

    def other_diff_id():
        config = json.loads(json.dumps(image.config))
        config["rootfs"]["diff_ids"][1] = "sha256:" + "ab" * 32
        data = json.dumps(config).encode()
        manifest = json.loads(json.dumps(image.manifest))
        manifest["config"].update(digest=image.put_blob(data), size=len(data))
        image.put("manifests/lying", json.dumps(manifest).encode(), manifest["mediaType"])
        fails(images.Pushed(registry, image.repository, "lying"), layer["digest"], "DiffID")
        node.nerdctl("pull", "-q", image.name)

    def swapped(tag, keys):
        """Two files of one size, so that no length gives it away, exchange `keys` in a TOC that is signed anew."""
        blob = image.bytes("blobs/" + layer["digest"])
        table = json.loads(zstd("-dc", blob[toc[0]:toc[0] + toc[1]]))
        one, other = [entry for entry in table["entries"] if entry["name"] in ("srv/twin0", "srv/twin1")]
        for key in keys:
            one[key], other[key] = other[key], one[key]
        forge(tag, blob, table)

    def forge(tag, blob, table):
        new = zstd("-c", json.dumps(table).encode())
        frame = lambda data: b"\x50\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data
        split_data = blob[split[0]:split[0] + split[1]]
        forged = blob[:toc[0] - 8] + frame(new) + frame(split_data)
        manifest = json.loads(json.dumps(image.manifest))
        target = manifest["layers"][1]
        position = toc[0] + len(new) + 8
        target["annotations"].update({
            POSITION + "manifest-checksum": "sha256:" + hashlib.sha256(new).hexdigest(),
            POSITION + "manifest-position": "%d:%d:%d:1" % (toc[0], len(new), len(json.dumps(table))),
            POSITION + "tarsplit-position": "%d:%d:%d" % (position, split[1], split[2])})
        target.update(digest=image.put_blob(forged), size=len(forged))
        image.put("manifests/" + tag, json.dumps(manifest).encode(), manifest["mediaType"])
        fails(images.Pushed(registry, image.repository, tag), target["digest"], "DiffID|TOC")
        node.nerdctl("pull", "-q", image.name)
        node.forget(image)
        node.daemon.stop()
        node.start_daemon()

    payload = toc[0] // 2
    yield "one byte of a payload frame", lambda: flip(payload, "TOC digest|does not decompress|DiffID")
    yield "one byte of the TOC", lambda: flip(toc[0] + toc[1] // 2, "TOC")
    yield "one byte of the tar-split", lambda: flip(split[0] + split[1] // 2, "TOC|tar-split")
    ranges = ("offset", "endOffset")
    yield "two files' ranges swapped in a TOC signed anew", lambda: swapped("ranges", ranges)
    yield "their digests swapped, too", lambda: swapped("digests", ("digest", *ranges))
    yield "another DiffID in the config", other_diff_id
    node.stop()
