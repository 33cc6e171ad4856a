"""Images for the checks: OCI layouts from tars, compressed and pushed by the reference writer."""
import hashlib
import io
import json
import os
import random
import struct
import subprocess
import tarfile
import urllib.request

from lab import ROOT, TOOLS, run

D, S, L = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
C, B, F = tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0).decode("latin-1")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ACCEPT = {"Accept": MANIFEST}
CHECKSUM = "io.github.containers.zstd-chunked.manifest-checksum"


def add(tar, name, type=tarfile.REGTYPE, data=b"", mode=0o644, mtime=1700000000, xattrs=None, pax=None, **fields):
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = type, mode, mtime
    for key, value in fields.items():
        setattr(entry, key, value)
    entry.pax_headers = {**(pax or {}), **{"SCHILY.xattr." + k: v for k, v in (xattrs or {}).items()}}
    if type == tarfile.REGTYPE:
        entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def fetched(registry, repository, what):
    url = "http://%s/v2/%s/%s" % (registry, repository, what)
    headers = {"Accept": MANIFEST + ", " + INDEX}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read()


class Pushed:
    """An image in a registry."""

    def __init__(self, registry, repository, tag):
        self.registry, self.repository, self.tag = registry, repository, tag
        self.name = "%s/%s:%s" % (registry, repository, tag)
        document = self.bytes("manifests/" + tag)
        self.digest = "sha256:" + hashlib.sha256(document).hexdigest()
        self.manifest = json.loads(document)
        self.config = self.get("blobs/" + self.manifest["config"]["digest"])
        self.layers = [layer["digest"] for layer in self.manifest["layers"]]
        self.chains, self.chain = [], None
        for diff in self.config["rootfs"]["diff_ids"]:
            text = "%s %s" % (self.chain, diff)
            self.chain = diff if self.chain is None else "sha256:" + hashlib.sha256(text.encode()).hexdigest()
            self.chains.append(self.chain)

    def get(self, what):
        return json.loads(self.bytes(what))

    def bytes(self, what):
        return fetched(self.registry, self.repository, what)

    @staticmethod
    def get_index(registry, repository, tag):
        return json.loads(fetched(registry, repository, "manifests/" + tag))

    def through(self, address):
        """The same image as seen at another address."""
        return Pushed(address, self.repository, self.tag)

    def put(self, what, data, media_type):
        url = "http://%s/v2/%s/%s" % (self.registry, self.repository, what)
        request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Type": media_type})
        urllib.request.urlopen(request, timeout=30).close()

    def put_blob(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        url = "http://%s/v2/%s/blobs/uploads/" % (self.registry, self.repository)
        with urllib.request.urlopen(urllib.request.Request(url, data=b"", method="POST"), timeout=30) as answer:
            place = answer.headers["Location"]
        request = urllib.request.Request(place + ("&" if "?" in place else "?") + "digest=" + digest, data=data, method="PUT",
                                         headers={"Content-Type": "application/octet-stream"})
        urllib.request.urlopen(request, timeout=60).close()
        return digest


def putter(directory):
    """Makes the place of a layout's blobs; gives a function that adds one and tells its digest and size."""
    blobs = os.path.join(directory, "blobs", "sha256")
    os.makedirs(blobs, exist_ok=True)
    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as f:
            f.write(data)
        return "sha256:" + digest, len(data)
    return put


def index_of(manifests):
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}


def layout(directory, name, layers, command, architecture="amd64", diff_ids=None):
    """An OCI layout of uncompressed layers; the writer compresses them on push. `diff_ids` other than theirs make it lie."""
    put = putter(directory)
    finish_layout(directory, name, [put(layer) for layer in layers], command, architecture, diff_ids)


def layout_of_file(directory, name, tar):
    """An OCI layout of one uncompressed layer, a file that is moved there."""
    layout_of_files(directory, name, [tar])


def layout_of_files(directory, name, tars):
    """As before, of several layers."""
    putter(directory)
    layers = []
    for tar in tars:
        with open(tar, "rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
        layers.append(("sha256:" + digest, os.path.getsize(tar)))
        os.rename(tar, os.path.join(directory, "blobs", "sha256", digest))
    finish_layout(directory, name, layers, ["/bin/hello"], "amd64", None)


def finish_layout(directory, name, tars, command, architecture, diff_ids):
    put = putter(directory)
    config = {"architecture": architecture, "os": "linux", "config": {"Cmd": command, "Env": ["PATH=/bin:/usr/bin"]},
              "rootfs": {"type": "layers", "diff_ids": diff_ids or [digest for digest, _ in tars]}}
    digest, size = put(json.dumps(config).encode())
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": d, "size": s} for d, s in tars]}
    digest, size = put(json.dumps(manifest).encode())
    index = {"schemaVersion": 2, "manifests": [{"mediaType": manifest["mediaType"], "digest": digest, "size": size,
             "annotations": {"org.opencontainers.image.ref.name": name}}]}
    with open(os.path.join(directory, "index.json"), "w") as f:
        json.dump(index, f)
    with open(os.path.join(directory, "oci-layout"), "w") as f:
        f.write('{"imageLayoutVersion": "1.0.0"}')


def push(lab, registry, name, layers, formats, command=("/bin/hello",)):
    """Pushes the layers in each of `formats` (gzip, zstd, zstd:chunked, none); gives {format: Pushed}."""
    directory = lab.path("oci-" + name)
    layout(directory, name, layers, list(command))
    pushed = {}
    for format in formats:
        tag = format.replace(":", "-")
        compress = [] if format == "none" else ["--compress", format]
        run(os.path.join(TOOLS, "refcopy"), *compress, "oci:%s:%s" % (directory, name),
            "docker://%s/test/%s:%s" % (registry, name, tag))
        pushed[format] = Pushed(registry, "test/" + name, tag)
    return pushed


def tar(build, format=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        build(archive)
    return buffer.getvalue()


def hello():
    """A static program that prints its argument, built by Go."""
    out = os.path.join(ROOT, ".tools", "bin", "hello")
    source = os.path.join(ROOT, "integration", "suite", "hello")
    if not os.path.exists(out):
        subprocess.run(["go", "build", "-o", out, "."], cwd=source, env={**os.environ, "CGO_ENABLED": "0"}, check=True)
    with open(out, "rb") as f:
        return f.read()


def application(version):
    """Two layers: a program, and 400 files of which version 2 changes one in sixteen."""
    program = hello()
    def base(t):
        add(t, "bin/", D, mode=0o755)
        add(t, "bin/hello", data=program, mode=0o755)
    def files(t):
        add(t, "srv/", D, mode=0o755)
        add(t, "srv/version", data=b"version %d\n" % version)
        for i in (0, 1):
            add(t, "srv/twin%d" % i, data=random.Random(-1 - i).randbytes(5000))
        for i in range(400):
            seed = i + (10000 if version > 1 and i % 16 == 0 else 0)
            add(t, "srv/f%d" % i, data=random.Random(seed).randbytes(2000 + 173 * i), mtime=1700000000 + version)
    return [tar(base), tar(files)]


def odd_layers(expressible):
    """Layers with every odd entry; `expressible`: only what the zstd:chunked writer accepts."""
    noise = random.Random(5)
    def one(t):
        add(t, "./", D, mode=0o711, mtime=1600000000)
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("usr", 0o755), ("usr/lib", 0o755), ("priv", 0o700),
                           ("sgid", 0o2775), ("dev", 0o755), ("run", 0o755), ("gone-dir", 0o755), ("opq", 0o750), ("emptied", 0o755)):
            add(t, "./%s/" % name, D, mode=mode, uid=3, gid=5, mtime=1500000000 + len(name), xattrs={"user.dir": name})
        add(t, "./bin/hello", data=hello(), mode=0o755)
        add(t, "./etc/passwd", data=b"root:x:0:0::/:/bin/sh\n")
        add(t, "./bin/suid", data=b"x" * 100, mode=0o6755, uid=7, gid=8)
        add(t, "./bin/cap", data=b"y" * 100, mode=0o755, xattrs={"security.capability": CAPABILITY, "user.note": "hello"})
        add(t, "./bin/capown", data=b"z" * 100, mode=0o755, uid=12, gid=13, xattrs={"security.capability": CAPABILITY})
        add(t, "./etc/trusted", data=b"t", xattrs={"trusted.overlay.opaque": "y"})
        add(t, "./etc/ns", data=b"ns", pax={"mtime": "1700000000.123456789", "atime": "1700000001.5"})
        add(t, "./etc/old", data=b"old", mtime=-1000)
        add(t, "./etc/epoch", mtime=0)
        add(t, "./sgid/file", data=b"in sgid dir", gid=99)
        add(t, "./sgid/sub/", D, mode=0o755)
        add(t, "./sgid/root", data=b"root in sgid dir")
        add(t, "./dev/null", C, mode=0o666, devmajor=1, devminor=3)
        add(t, "./dev/sda", B, mode=0o660, gid=6, devmajor=8, devminor=0)
        add(t, "./run/fifo", F, mode=0o620, uid=1, gid=2)
        add(t, "./usr/link", S, linkname="lib", mode=0o777, uid=1000, gid=1001, mtime=1400000000)
        for name, target in (("abs", "/usr/lib"), ("up", "../../../../usr/lib"), ("dangling", "nowhere")):
            add(t, "./usr/" + name, S, linkname=target, mode=0o777)
        for i, way in enumerate(("link", "abs", "up")):
            add(t, "./usr/%s/through%d" % (way, i), data=b"through a symlinked parent")
        add(t, "./usr/lib/target", data=b"hard" * 10, mode=0o640)
        add(t, "./usr/lib/hard", L, linkname="./usr/lib/target", mode=0o640)
        add(t, "./usr/lib/hard-of-link", L, linkname="./usr/link", mode=0o777, uid=1000, gid=1001, mtime=1400000000)
        add(t, "./usr/lib/hard-of-dev", L, linkname="./dev/null", mode=0o666)
        add(t, "./usr/lib/hard-meta", L, linkname="./etc/passwd", mode=0o600, uid=44, gid=45, mtime=1300000000)
        add(t, "./usr/" + "n" * 180, data=b"long name")
        add(t, "./" + "/".join(["d" * 60] * 6) + "/deep", data=b"implied parents")
        add(t, "./usr/with space\nand newline", data=b"sp")
        add(t, "./usr/big", data=noise.randbytes(1 << 20) * 17 + b"tail", mode=0o600)
        add(t, "./usr/holes", data=noise.randbytes(5000) + bytes(3 << 20) + noise.randbytes(70000) + bytes(9000) + b"tail" + bytes(2000))
        add(t, "./usr/zeros", data=bytes(2 << 20))
        add(t, "./usr/zero-small", data=bytes(5000))
        add(t, "./gone", data=b"gone")
        for name in ("gone-dir/x", "opq/below", "emptied/a", "replaced-by-dir"):
            add(t, "./" + name, data=name.encode())
        add(t, "./replaced-by-file/", D, mode=0o755)
        add(t, "./replaced-by-file/in", data=b"i")
        if not expressible:
            inexpressible(t)
    def two(t):
        add(t, ".wh.gone")
        add(t, ".wh.gone-dir")
        add(t, "opq/", D, mode=0o755, uid=4)
        add(t, "opq/.wh..wh..opq")
        add(t, "opq/above", data=b"a")
        add(t, "emptied/.wh.a")
        add(t, "tmp/implied", data=b"in tmp: its mode must stay 1777")
        add(t, "priv/deeper/implied", data=b"p")
        add(t, "replaced-by-dir/", D, mode=0o755)
        add(t, "replaced-by-dir/in", data=b"i")
        add(t, "replaced-by-file", data=b"f")
        add(t, "usr/lib/new", data=b"new", mtime=1710000000)
        add(t, "new/implied/only/here", data=b"x")
    def three(t):
        add(t, "usr/" + "g" * 200 + "/" + "h" * 100, data=b"gnu long")
        add(t, "usr/longlink", S, linkname="t" * 250, mode=0o777)
        add(t, "opq/third", data=b"3")
        add(t, "new/.wh.implied")
        add(t, "big-uid", data=b"u", uid=3000000, gid=3000001)
    return [tar(one), tar(two), tar(three, tarfile.GNU_FORMAT)]


def inexpressible(t):
    """What the writer of zstd:chunked refuses: duplicates, names that are not UTF-8, sparse files, global headers."""
    add(t, "./dup", data=b"first")
    add(t, "./dup", data=b"second", mode=0o755)
    add(t, "./dupdir/", D, mode=0o700)
    add(t, "./dupdir/f", data=b"f")
    add(t, "./dupdir/", D, mode=0o755, uid=9)
    add(t, "./f-then-d", data=b"f")
    add(t, "./f-then-d/", D, mode=0o755)
    add(t, "./f-then-d/in", data=b"in")
    add(t, "./d-then-l/", D, mode=0o755)
    add(t, "./d-then-l/in", data=b"in")
    add(t, "./d-then-l", S, linkname="usr", mode=0o777)
    add(t, "bad\udcff\udcfename", data=b"not UTF-8")
    t.fileobj.write(tarfile.TarInfo.create_pax_global_header({"comment": "ignored"}))
    t.offset = t.fileobj.tell()
    # PAX 1.0 sparse: the map stands in front of the data (GNU tar manual, "Storing Sparse Files").
    sparse_map = b"2\n0\n4\n1048576\n3\n"
    payload = sparse_map + bytes(512 - len(sparse_map)) + b"headend"
    add(t, "./GNUSparseFile.0/sparse", data=payload, pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
        "GNU.sparse.name": "./sparse", "GNU.sparse.realsize": str(1048576 + 3)})


def implied_directories(layers):
    """Directories that some layer needs and does not describe: containerd gives them the time of the unpack."""
    names = set()
    for data in layers:
        described, needed = set(), {b"."}
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for entry in archive:
                name = os.path.normpath(os.fsencode(entry.name))
                if entry.isdir():
                    described.add(name)
                while b"/" in name:
                    name = os.path.dirname(name)
                    needed.add(name)
        names |= needed - described | {b"."}
    return names
