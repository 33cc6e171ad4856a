"""Our writer beside the reference one, on the tars of the fuzzers' corpus: each odd in its own way."""
import base64
import hashlib
import json
import os
import shutil
import subprocess

import debian
import images
import roundtrip
from lab import BINARY, Failure, ROOT, TOOLS

SEEDS = os.path.join(ROOT, "fuzz", "corpus", "writer")
POSITION = "io.github.containers.zstd-chunked."
# The reference writes these, and then cannot pull what it wrote, or has changed the tar; or its tar is cut short, and we do not
# say that it is whole. Ours are plain layers.
ONLY_THEIRS = {"an-extension-header-at-the-end", "cut-in-padding", "no-name",
               "PAX-sparse", "a-non-UTF-8-name", "a-non-UTF-8-link", "a-non-UTF-8-attribute", "a-link-with-a-size",
               "megabytes-of-garbage-behind-the-end", "zeros-that-are-no-blocks", "no-bytes"}


def checks(lab, registry):
    def expressible():
        compared = plain = 0
        for name in sorted(os.listdir(SEEDS)):
            with open(os.path.join(SEEDS, name), "rb") as f:
                tar = f.read()[1:]
            directory = lab.path("writer-" + name)
            try:
                images.layout(os.path.join(directory, "source"), "x", [tar], [])
                ours = converted(directory, "ours", [BINARY, "convert"])
                theirs = converted(directory, "theirs", [os.path.join(TOOLS, "refcopy"), "-compress", "zstd:chunked"])
            finally:
                shutil.rmtree(directory, ignore_errors=True)
            if ours is None:
                raise Failure("%s: ours was not written" % name)
            if hashlib.sha256(ours["tar"]).digest() != hashlib.sha256(tar).digest():
                raise Failure("%s: ours does not decompress to the tar" % name)
            if ours["entries"] is None:
                plain += 1
                if theirs and theirs["entries"] is not None and name not in ONLY_THEIRS:
                    raise Failure("%s: only the reference made a table of contents" % name)
                continue
            if theirs is None:
                raise Failure("%s: the reference cannot write what ours could" % name)
            for part in ("entries", "split"):
                if ours[part] != theirs[part]:
                    raise Failure("%s: the %s differ:\n%s\n%s" % (name, part, ours[part], theirs[part]))
            compared += 1
        if compared < 12 or plain < 12:
            raise Failure("only %d compared and %d plain" % (compared, plain))

    def real_layer():
        # The large ones take minutes: integration/bench/roundtrip.
        layer = roundtrip.check(debian.layer("base", debian.BASE), lab.path("roundtrip"))
        if layer["action"] != "converted":
            raise Failure("not converted: %s" % layer)

    yield "writer: a layer of Debian packages comes back, from any thread and zone", real_layer
    yield "writer: entries, chunks and tar-split are the reference's", expressible


def converted(directory, name, command):
    """What a writer made of the layer; None if it refused."""
    to = os.path.join(directory, name)
    # The reference's table of contents has the host's time zone.
    done = subprocess.run([*command, "oci:%s/source:x" % directory, "oci:%s:x" % to], env={**os.environ, "TZ": "UTC"}, capture_output=True)
    if done.returncode:
        return None
    manifest = json.loads(blob(to, json.loads(read(os.path.join(to, "index.json")))["manifests"][0]["digest"]))
    layer = manifest["layers"][0]
    data, annotations = blob(to, layer["digest"]), layer.get("annotations", {})
    found = {"tar": unzstd(data) if "zstd" in layer["mediaType"] else data, "entries": None, "split": None}
    if POSITION + "manifest-position" in annotations:
        found["entries"] = [comparable(entry) for entry in json.loads(part(data, annotations, "manifest"))["entries"] or []]
        found["split"] = joined(part(data, annotations, "tarsplit"))
    return found


def comparable(entry):
    """Without what depends on the compressor."""
    return {key: value for key, value in entry.items() if key not in ("offset", "endOffset")}


def joined(lines):
    """Items of a tar-split, raw bytes joined: where the padding behind the end is cut is each writer's own."""
    items = []
    for line in lines.splitlines():
        item = json.loads(line)
        if item["type"] == 2:
            raw = base64.b64decode(item["payload"])
            if items and isinstance(items[-1], bytes):
                items[-1] += raw
            else:
                items.append(raw)
        else:
            items.append((item.get("name"), item.get("name_raw"), item.get("size", 0), item["payload"]))
    return items


def part(data, annotations, which):
    at, length = (int(field) for field in annotations[POSITION + which + "-position"].split(":")[:2])
    return unzstd(data[at:at + length])


def unzstd(data):
    return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout


def blob(directory, digest):
    return read(os.path.join(directory, "blobs", "sha256", digest.split(":")[1]))


def read(path):
    with open(path, "rb") as f:
        return f.read()
