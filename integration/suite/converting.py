"""Sources for `convert` and other tools' sides of it."""
import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
import time

import images
from lab import BINARY, Failure, TOOLS, run
from memory import Memory

KINDS = ("none", "gzip", "zstd", "docker", "docker-archive", "docker-archive.gz", "oci-archive")
STORAGE_CONF = """[storage]
driver = "overlay"
graphroot = "{root}/g"
runroot = "{root}/r"
[storage.options]
pull_options = {{enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}}
"""


def tool(*arguments, env=None, code=0, says=None):
    """Runs our program; gives its standard output."""
    done = run(BINARY, *arguments, env=env, check=False, timeout=600)
    if done.returncode != code:
        raise Failure("%s: exit %d, not %d\n%s%s" % (" ".join(arguments), done.returncode, code, done.stdout, done.stderr))
    if says and says not in done.stderr:
        raise Failure("%s does not say %r:\n%s" % (" ".join(arguments), says, done.stderr))
    return done.stdout


def converted(source, destination, *options, env=None, code=0, says=None):
    """The report of a conversion; nothing of one that has to fail."""
    out = tool("convert", "--json", *options, source, destination, env=env, code=code, says=says)
    return json.loads(out) if code in (0, 3) else None


def layers_of(report):
    return [layer for image in report["images"] for layer in image["layers"]]


def entries(layout):
    """Of a layout's index, or of the one index it holds."""
    with open(os.path.join(layout, "index.json")) as f:
        found = json.load(f)["manifests"]
    if len(found) == 1 and found[0]["mediaType"] == images.INDEX:
        with open(os.path.join(layout, "blobs", "sha256", found[0]["digest"].split(":")[1])) as f:
            found = json.load(f)["manifests"]
    return found


class Sources(dict):
    """One image in every kind of place; keys are KINDS."""

    def __init__(self, lab, registry, layers):
        layout = lab.path("source")
        images.layout(layout, "x", layers, ["/bin/hello"])
        self["none"] = "oci:%s:x" % layout
        pushed = images.push(lab, registry, "conv-source", layers, ["gzip", "zstd"])
        self.config = pushed["gzip"].config
        for format, image in pushed.items():
            self[format] = "docker://" + image.name
        docker = "docker://%s/test/conv-docker:x" % registry
        run("skopeo", "copy", "--format", "v2s2", "--dest-tls-verify=false", self["none"], docker)
        self["docker"] = docker
        saved = lab.path("saved.tar")
        run("skopeo", "copy", self["none"], "docker-archive:%s:example/app:v1" % saved)
        self["docker-archive"] = "docker-archive:%s:example/app:v1" % saved
        run("sh", "-c", "gzip -1 <%s >%s.gz" % (saved, saved))
        self["docker-archive.gz"] = "docker-archive:%s.gz" % saved
        archive = lab.path("layout.tar")
        run("skopeo", "copy", self["gzip"], "oci-archive:%s:x" % archive, "--src-tls-verify=false")
        self["oci-archive"] = "oci-archive:%s:x" % archive


def index(lab, amd64, arm64):
    """A layout with an index `multi`: two platforms, and an attestation of the first as BuildKit writes it."""
    layout = lab.path("multi")
    found = []
    for architecture, layers in (("amd64", amd64), ("arm64", arm64)):
        images.layout(layout, architecture, layers, ["/bin/hello"], architecture=architecture)
        [entry] = entries(layout)
        entry.pop("annotations")
        found.append({**entry, "platform": {"os": "linux", "architecture": architecture}})
    put = images.putter(layout)
    statement = put(json.dumps({"subject": [{"digest": {"sha256": found[0]["digest"].split(":")[1]}}]}).encode())
    config = put(json.dumps({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": [statement[0]]}}).encode())
    manifest = {"schemaVersion": 2, "mediaType": images.MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config[0], "size": config[1]},
                "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": statement[0], "size": statement[1]}]}
    digest, size = put(json.dumps(manifest).encode())
    found.append({"mediaType": images.MANIFEST, "digest": digest, "size": size, "platform": {"os": "unknown", "architecture": "unknown"},
                  "annotations": {"vnd.docker.reference.type": "attestation-manifest",
                                  "vnd.docker.reference.digest": found[0]["digest"]}})
    digest, size = put(json.dumps(images.index_of(found)).encode())
    with open(os.path.join(layout, "index.json"), "w") as f:
        json.dump(images.index_of([{"mediaType": images.INDEX, "digest": digest, "size": size,
                                    "annotations": {"org.opencontainers.image.ref.name": "multi"}}]), f)
    return layout


def artifact(image, kind, subject, tag=None):
    """Pushes something that refers to an image, beside it; gives its descriptor."""
    empty = image.put_blob(b"{}")
    manifest = {"schemaVersion": 2, "mediaType": images.MANIFEST, "artifactType": kind,
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
                "layers": [{"mediaType": kind, "digest": image.put_blob(kind.encode()), "size": len(kind)}]}
    if subject:
        manifest["subject"] = subject
    data = json.dumps(manifest).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    image.put("manifests/" + (tag or digest), data, images.MANIFEST)
    return {"mediaType": images.MANIFEST, "digest": digest, "size": len(data), "artifactType": kind}


class Reference:
    """The reference partial puller with a store of its own."""

    def __init__(self, lab):
        self.root = lab.path("reference")
        os.makedirs(self.root)
        conf = os.path.join(self.root, "storage.conf")
        with open(conf, "w") as f:
            f.write(STORAGE_CONF.format(root=self.root))
        self.env = {"CONTAINERS_STORAGE_CONF": conf, "CONTAINERS_REGISTRIES_CONF": "/dev/null"}

    def pull(self, image, name):
        run(os.path.join(TOOLS, "refcopy"), "docker://" + image.name, "containers-storage:conv/" + name, env=self.env)

    @contextlib.contextmanager
    def mounted(self, name):
        """The image's tree, by the layers' directories of its store."""
        with open(os.path.join(self.root, "g", "overlay-images", "images.json")) as f:
            [image] = [i for i in json.load(f) if any(n.split("/")[-1].startswith(name + ":") for n in i.get("names") or [])]
        with open(os.path.join(self.root, "g", "overlay-layers", "layers.json")) as f:
            parents = {layer["id"]: layer.get("parent") for layer in json.load(f)}
        chain, layer = [], image["layer"]
        while layer:
            chain.append(os.path.join(self.root, "g", "overlay", layer, "diff"))
            layer = parents[layer]
        where = os.path.join(self.root, "tree")
        os.makedirs(where)
        run("mount", "-t", "overlay", "overlay", "-o", "ro,lowerdir=" + ":".join(chain), where)
        try:
            yield where
        finally:
            run("umount", where)
            os.rmdir(where)

    def close(self):
        run("sh", "-c", "grep ' %s' /proc/self/mounts | cut -d' ' -f2 | sort -r | xargs -r umount -l" % self.root)
        shutil.rmtree(self.root)


def unpadded(tar):
    """The same archive ending after its two zero blocks, as GNU tar's `-b1` writes it."""
    content = tar.rstrip(b"\0")
    return content + bytes(-len(content) % 512 + 1024)


def write_old(lab, program, source, registry, repository, tag):
    """Debian's writers of zstd:chunked (generation A)."""
    target = "docker://%s/%s:%s" % (registry, repository, tag)
    if program == "skopeo":
        run("skopeo", "copy", "--dest-tls-verify=false", "--format", "oci", "--dest-compress-format", "zstd:chunked", source, target)
    else:
        root = lab.path("buildah-" + tag)
        common = ["buildah", "--root", root + "/g", "--runroot", root + "/r", "--storage-driver", "vfs"]
        try:
            pulled = run(*common, "pull", "-q", source).stdout.split()[-1]
            run(*common, "push", "-q", "--tls-verify=false", "--format", "oci", "--compression-format", "zstd:chunked", pulled, target)
        finally:
            shutil.rmtree(root, ignore_errors=True)
    image = images.Pushed(registry, repository, tag)
    old = "io.containers.zstd-chunked.manifest-checksum"
    if not all(old in layer.get("annotations", {}) for layer in image.manifest["layers"]):
        raise Failure("%s did not write zstd:chunked of an old generation: %s" % (program, image.manifest))
    return image


def lost_its_tail(image):
    for layer, diff in zip(image.manifest["layers"], image.config["rootfs"]["diff_ids"]):
        tar = subprocess.run(["zstd", "-dc"], input=image.bytes("blobs/" + layer["digest"]), capture_output=True, check=True).stdout
        if "sha256:" + hashlib.sha256(tar).hexdigest() != diff:
            return True
    return False


# --- Memory -----------------------------------------------------------------------------------------
# Peak resident memory of a conversion, in bytes, for each layer at a time: the promise.
MEMORY = 256 << 20


def measured(source, destination, *options, bound=MEMORY):
    """Converts, and fails when that took more memory than it may."""
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen([BINARY, "convert", "--json", *options, source, destination], stdout=out)
        # Not the peak that wait4 tells: after vfork that starts from this program's own.
        memory = Memory(child.pid)
        started = time.monotonic()
        try:
            child.wait(300)
        finally:
            memory.stop()
            child.kill()
            child.wait()
        seconds = time.monotonic() - started
        out.seek(0)
        text = out.read()
    if child.returncode:
        raise Failure("convert: exit %d" % child.returncode)
    layers = layers_of(json.loads(text))
    print("    peak %d MiB, %d MB of tar in %.1f s" % (
        memory.peak >> 20, sum(layer["content"]["tar_size"] for layer in layers) / 1e6, seconds))
    if any(layer["action"] != "converted" for layer in layers):
        raise Failure("not converted: %s" % layers)
    if not 0 < memory.peak <= bound:
        raise Failure("peak of %d MiB, allowed are %d" % (memory.peak >> 20, bound >> 20))
    return layers


def two_large_layers(lab):
    """Two layers of 1 GB, at once as by default: files of all sizes, half noise."""
    layout, tars = lab.path("two"), []
    for number in range(2):
        pool = random.Random(number).randbytes(4 << 20) + b"".join(b"line %d of a text\n" % i for i in range(300_000))
        path = lab.path("two-%d.tar" % number)
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            while archive.offset < 1_000_000_000:
                count = len(archive.members)
                start, size = count * 7919 % (len(pool) // 2), count * count % (1 << 20)
                images.add(archive, "srv/%d/%d" % (count // 100, count), data=pool[start:start + size])
        tars.append(path)
    images.layout_of_files(layout, "x", tars)
    # Few threads need less than is promised.
    bound = MEMORY if os.cpu_count() <= 8 else 2 * MEMORY
    layers = measured("oci:%s:x" % layout, "oci:%s:x" % lab.path("two-out"), bound=bound)
    if len(layers) != 2:
        raise Failure("%d layers" % len(layers))
    shutil.rmtree(layout)
    shutil.rmtree(lab.path("two-out"))


def many_files(lab):
    layout = lab.path("many")
    path = lab.path("many.tar")
    noise = random.Random(7)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(100_000):
            images.add(archive, "srv/%03d/file-%05d" % (number // 500, number), data=noise.randbytes(200))
    images.layout_of_file(layout, "x", path)
    measured("oci:%s:x" % layout, "oci:%s:x" % lab.path("many-out"), "--layers", "1")
    shutil.rmtree(layout)
    shutil.rmtree(lab.path("many-out"))


def large_file(lab):
    """5 GiB in one file: 64 MiB of noise in 16 places, holes between."""
    layout, path, size = lab.path("large"), lab.path("large.tar"), 5 << 30
    noise = random.Random(8)
    entry = tarfile.TarInfo("srv/large")
    entry.size, entry.mtime = size, 1700000000
    with open(path, "wb") as f:
        f.write(entry.tobuf(tarfile.PAX_FORMAT))
        start = f.tell()
        for number in range(16):
            f.seek(start + number * (size // 16))
            f.write(noise.randbytes(4 << 20))
        f.truncate(start + size + 1024)
    images.layout_of_file(layout, "x", path)
    measured("oci:%s:x" % layout, "oci:%s:x" % lab.path("large-out"), "--layers", "1")
    shutil.rmtree(layout)
    shutil.rmtree(lab.path("large-out"))
