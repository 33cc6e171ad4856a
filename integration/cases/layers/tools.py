"""One image as different tools would write it: buildah and skopeo themselves, the others by the shape of their tars.

Version 1 has two directories, a program, a link to it, a symlink and a configuration; version 2 replaces, adds and removes.
"""
import json
import os
import subprocess

from lab import run
from lib import machine
from lib.image import Image, sha
from lib.node import differences, few, short
from lib.play import Seen, case, command, common, compare, play_image, registry
from lib.rawtar import GNU, NO_VERSION, directory, file, hardlink, layer, opaque, pax, symlink, tar, unique, whiteout

PROGRAM, TEXT = b"\x7fELF" + b"program" * 5000, b"key = value\n" * 40
DEEP = b"srv/" + b"/".join([b"long-name-of-a-directory-%d" % n for n in range(6)]) + b"/file"
FIRST = [("d", b"etc", 0o755), ("f", b"etc/app.conf", 0o644, TEXT), ("d", b"etc/old", 0o755), ("f", b"etc/old/gone", 0o644, b"gone"), ("d", b"usr", 0o755),
         ("d", b"usr/bin", 0o755), ("f", b"usr/bin/app", 0o755, PROGRAM), ("h", b"usr/bin/app2", 0o755, b"usr/bin/app"),
         ("s", b"usr/bin/run", 0o777, b"app"), ("d", b"tmp", 0o1777), ("f", DEEP, 0o600, b"deep")]
SECOND = [("d", b"etc", 0o755), ("f", b"etc/app.conf", 0o644, TEXT + b"more"), ("w", b"etc/old"), ("d", b"usr", 0o755), ("d", b"usr/bin", 0o755),
          ("f", b"usr/bin/new", 0o755, PROGRAM[::-1])]


class Shape:
    """How a tool writes entries: what stands before a name, whether it names directories, its times and its headers."""

    def __init__(self, before=b"", directories=True, slash=True, time=1700000000, long="pax", order=None, root=False, **fields):
        self.before, self.directories, self.slash, self.time, self.long = before, directories, slash, time, long
        self.order, self.root, self.fields = order or list, root, fields

    def layer(self, entries):
        parts = [self.entry(b"", "d", 0o755)] if self.root else []
        for kind, path, *rest in self.order(entries):
            if kind == "w":
                parts.append(whiteout(self.before + path))
            elif kind != "d" or self.directories:
                parts.append(self.entry(path, kind, *rest))
        return layer(*parts)

    def entry(self, path, kind, mode, data=b""):
        name = self.before + path + (b"/" if kind == "d" and self.slash else b"")
        before, fields = b"", {**self.fields, "mtime": self.time, "mode": mode}
        if len(name) > 100:
            before = pax({b"path": name}) if self.long == "pax" else file(b"././@LongLink", name + b"\0", type=b"L", **GNU)
            name = name[:100]
        if kind == "d":
            return before + directory(name, **fields)
        if kind == "f":
            return before + file(name, data, **fields)
        return before + (symlink(name, data, **fields) if kind == "s" else hardlink(name, self.before + data, **fields))


def by_name(entries):
    return sorted(entries, key=lambda entry: entry[1])


def whiteouts_first(entries):
    """kaniko writes what was removed before it walks what there is."""
    return sorted(entries, key=lambda entry: entry[0] != "w")


def whiteouts_last(entries):
    return sorted(entries, key=lambda entry: entry[0] == "w")


def children_first(entries):
    return sorted(entries, key=lambda entry: (entry[0] in "hs", entry[0] == "w", -entry[1].count(b"/")))


SHAPES = {
    "docker": ("dockerd: plain names, directories first, PAX", Shape()),
    "docker-old": ("dockerd before 1.10: GNU headers, long names by @LongLink", Shape(long="gnu", **GNU)),
    "go-1.7": ("anything built by Go before 1.8: ustar without a version", Shape(**NO_VERSION)),
    "buildkit": ("BuildKit's exporter: sorted by name", Shape(order=by_name)),
    "kaniko": ("kaniko: whiteouts first, the root's entry, names with a leading slash", Shape(before=b"/", order=whiteouts_first, root=True)),
    "kaniko-last": ("kaniko: whiteouts last", Shape(order=whiteouts_last)),
    "jib": ("Jib: epoch + 1 s", Shape(time=1, order=by_name)),
    "jib-files": ("Jib's application layers: no directories", Shape(time=1, directories=False, order=by_name)),
    "ko": ("ko: absolute names, no directories, epoch", Shape(before=b"/", directories=False, time=0)),
    "ko-zero": ("ko: Go's zero time, which is before 1970", Shape(before=b"/", directories=False, time=b"\xff" * 4 + (-62135596800).to_bytes(8, "big", signed=True))),
    "rules-oci": ("rules_oci: ./ before names, no directories, epoch", Shape(before=b"./", directories=False, time=0)),
    "rules-pkg": ("rules_pkg: ./ before names, directories without a slash, the year 2000", Shape(before=b"./", slash=False, time=946684800, root=True)),
    "nix": ("nix' dockerTools: ./ before names, the root's entry, epoch + 1 s, sorted", Shape(before=b"./", time=1, root=True, order=by_name)),
    "nix-absolute": ("nix' streamed images: absolute names", Shape(before=b"/", time=1, order=by_name)),
    "umoci": ("umoci: children before their directories", Shape(order=children_first)),
}


def shaped(name, title, shape):
    @case("tools-" + name, title)
    def _():
        return play_image(Image(shape.layer(FIRST), shape.layer(SECOND)))


for name, (title, shape) in SHAPES.items():
    shaped(name, title, shape)


@case("tools-opaque-directory", "BuildKit: a directory that was removed and made anew is opaque")
def _():
    return play_image(Image(Shape().layer(FIRST), layer(directory(b"etc/"), directory(b"etc/old/"), opaque(b"etc/old"), file(b"etc/old/new", b"n"))))


# ---------------------------------------------------------------- tar programs

def unpacked(entries):
    """The same entries as files, for programs that read files."""
    where = machine.scratch("files")
    for kind, path, *rest in entries:
        name = os.path.join(where, path.decode())
        os.makedirs(name if kind == "d" else os.path.dirname(name), exist_ok=True)
        if kind == "f":
            with open(name, "wb") as f:
                f.write(rest[1])
        elif kind == "s":
            os.symlink(rest[1].decode(), name)
        elif kind == "h":
            os.link(os.path.join(where, rest[1].decode()), name)
        if kind in "df":
            os.chmod(name, rest[0])
    with open(os.path.join(where, ".case-marker"), "w") as f:
        f.write(unique())
    return where


def by_program(name, title, *arguments):
    @case("tools-tar-" + name, title)
    def _():
        where = unpacked(FIRST)
        written = subprocess.run(["tar", "-C", where, *arguments, "-cf", "-", "."], capture_output=True, check=True).stdout
        return play_image(Image(written, layer(whiteout(b"etc/old"))))


for form in ("gnu", "oldgnu", "ustar", "posix"):
    by_program(form, "GNU tar, --format=" + form, "--format=" + form)
by_program("reproducible", "GNU tar as reproducible builds call it", "--format=posix", "--sort=name", "--mtime=@0", "--numeric-owner", "--owner=0", "--group=0",
           "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")
by_program("xattrs", "GNU tar with attributes and ACLs", "--xattrs", "--acls", "--selinux")


# ---------------------------------------------------------------- buildah and skopeo

def buildah(*arguments):
    where = machine.lab().path("buildah")
    return run("buildah", "--root", where + "/root", "--runroot", where + "/run", "--storage-driver", "vfs", *arguments,
               env={"BUILDAH_ISOLATION": "chroot"}, timeout=120).stdout.strip()


def built_by_buildah(form):
    """Builds both versions; gives the reference of what was pushed."""
    work = buildah("from", "scratch")
    buildah("copy", work, unpacked(FIRST), "/")
    first = buildah("commit", "--quiet", "--format", form, work)
    work = buildah("from", "--pull=never", first)
    root = buildah("mount", work)
    run("rm", "-r", root + "/etc/old")
    with open(root + "/usr/bin/new", "wb") as f:
        f.write(PROGRAM[::-1])
    second = buildah("commit", "--quiet", "--format", form, work)
    ref = "%s/tools/buildah-%s:t" % (registry().address, form)
    buildah("push", "--quiet", "--tls-verify=false", second, "docker://" + ref)
    return ref


def pushed(ref):
    """What `compare` wants to know of an image that somebody else pushed."""
    _, document = registry().manifests[tuple(ref.split("/", 1)[1].rsplit(":", 1))]
    found = Image(tar())
    found.layers = [entry["digest"] for entry in json.loads(document)["layers"]]
    return found


for form in ("oci", "docker"):
    @case("tools-buildah-" + form, "buildah: built, committed and pushed as " + form)
    def _(form=form):
        ref = built_by_buildah(form)
        return compare(ref, pushed(ref))[0]


def docker_save(new):
    """An archive as `docker save` writes it: of old engines, or of those that keep images in containerd."""
    where = machine.scratch("save")
    tars = [Shape().layer(FIRST), Shape().layer(SECOND)]
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [sha(t) for t in tars]}}
    text = json.dumps(config).encode()
    hexadecimal = lambda data: sha(data).split(":")[1]
    place = (lambda data: "blobs/sha256/" + hexadecimal(data)) if new else (lambda data: hexadecimal(data + b"id") + "/layer.tar")
    files = {place(data): data for data in tars} | {("blobs/sha256/" + hexadecimal(text)) if new else hexadecimal(text) + ".json": text}
    name = [path for path in files if path.endswith(hexadecimal(text)) or path.endswith(".json")][0]
    manifest = [{"Config": name, "RepoTags": ["test/app:t"], "Layers": [place(data) for data in tars]}]
    files["manifest.json"] = json.dumps(manifest).encode()
    for path, data in files.items():
        os.makedirs(os.path.dirname(os.path.join(where, path)) or where, exist_ok=True)
        with open(os.path.join(where, path), "wb") as f:
            f.write(data)
    archive = machine.scratch("archive") + "/saved.tar"
    run("tar", "-C", where, "-cf", archive, *sorted(os.listdir(where)))
    return archive


def saved(name, title, new):
    @case("tools-save-" + name, title)
    def _():
        archive = docker_save(new)
        ref = "%s/tools/save-%s:t" % (registry().address, name)
        done = command("convert", "docker-archive:" + archive, "docker://" + ref, *common())
        if done.code:
            return Seen("wrong", "convert fails: " + short(done.error))
        other = ref.replace(":t", "-skopeo:t")
        run("skopeo", "copy", "-q", "--dest-tls-verify=false", "docker-archive:" + archive, "docker://" + other)
        seen, mine, _ = compare(ref, pushed(ref))
        _, _, its = compare(other, pushed(other))
        lines = differences(mine, its) if mine and its else ["nothing to compare"]
        return Seen("wrong", "what skopeo made of it (second) differs: " + few(lines)) if lines else seen


saved("old", "docker save of an old engine, through convert", False)
saved("new", "docker save of an engine with containerd's image store, through convert", True)
