"""The images of the benchmark, and what each becomes from release to release.

`app` is an application from Debian packages, `many` has many small files, `large` few large ones. A Corpus is pushed once by the
reference writer, in every format, into a registry of its own that is kept in .tools/corpus.
"""
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zlib

import debian
import images

RUNTIME = "golang-1.19-src openjdk-17-jre-headless libnode108 git vim-runtime perl-modules-5.36".split()
LIBRARIES = ("python3-numpy python3-scipy python3-pandas python3-botocore python3-django python3-sympy python3-sklearn "
             "python3-matplotlib node-typescript").split()
SOURCES = "golang-1.19-src libboost1.74-dev python3-django python3-sympy python3-botocore vim-runtime".split()
FORMATS = ["zstd:chunked", "gzip", "zstd"]
SMALL = 64 << 10
MB = 1 << 20


def rebuilt(path, data):
    """A rebuild a day later: every tenth directory has new versions of its files."""
    if zlib.crc32(os.path.dirname(path).encode()) % 10 or not data:
        return data
    middle = len(data) // 2
    return data[:middle] + b"changed" + data[middle:]


class Corpus:
    """An image in several releases: `cases` names the pull of each, in order; the first is into an empty store."""

    def __init__(self, name, cases, layers, smallest, fewest):
        self.name, self.cases, self.layers = name, cases, layers
        self.smallest, self.fewest = smallest, fewest  # bytes of tar and files that the tables promise

    def published(self, lab):
        """The address of a registry with all releases in every format, and {(case, format): Pushed}."""
        tars = [path for case in self.cases for path in self.layers(case)]

        def push_all(registry):
            print("pushing the images of %s with the reference writer (once; some minutes)" % self.name, file=sys.stderr, flush=True)
            for case in self.cases:
                self.push(lab, registry, case)
        registry = debian.registry(lab, "bench-" + self.name, tars, push_all)
        return registry, {(case, format): images.Pushed(registry, "test/" + self.repository(case), format.replace(":", "-"))
                          for case in self.cases for format in FORMATS}

    def repository(self, case):
        return "bench-%s-%s" % (self.name, case)

    def push(self, lab, registry, case):
        tars = []
        for path in self.layers(case):
            with open(path, "rb") as f:
                tars.append(f.read())
        images.push(lab, registry, self.repository(case), tars, FORMATS)
        shutil.rmtree(lab.path("oci-" + self.repository(case)))

    def facts(self):
        """How large the image is, and what each later release changes; counted once, then kept."""
        releases = [self.layers(case) for case in self.cases]
        kept = os.path.join(debian.CACHE, "bench-facts-%s.json" % debian.short(
            [self.name] + [os.path.basename(path) for release in releases for path in release]))
        if not os.path.exists(kept):
            with open(kept, "w") as f:
                json.dump(counted(self.cases, releases), f)
        with open(kept) as f:
            facts = json.load(f)
        if facts["tar_bytes"] < self.smallest or facts["files"] < self.fewest:
            raise SystemExit("the corpus %s is too small: %s" % (self.name, facts))
        return facts


def counted(cases, releases):
    seen, known = contents(releases[0]), set(releases[0])
    facts = {"layers": len(releases[0]), "tar_bytes": sum(map(os.path.getsize, releases[0])), "files": len(seen), "changes": {}}
    old = set(seen.values())
    for case, release in zip(cases[1:], releases[1:]):
        fresh = [path for path in release if path not in known]
        files = contents(fresh)
        facts["changes"][case] = {"layers": len(fresh), "files": len(files),
                                  "files_new": sum(digest not in old for digest in files.values())}
        known.update(fresh)
        old.update(files.values())
    return facts


def contents(paths):
    """{name: digest} of the regular files in these layers, the uppermost of a name."""
    found = {}
    for path in paths:
        with tarfile.open(path) as archive:
            for entry in archive:
                if entry.isreg():
                    found[entry.name] = hashlib.sha256(archive.extractfile(entry).read()).hexdigest()
    return found


def application(case):
    """Four layers. The update rebuilds the two upper ones; `rebuilt` all of them, as a build without a cache does."""
    release = ("cold", "update", "rebuilt").index(case) + 1
    extra = tuple(("srv/app/m%d.py" % i, 0o644, b"release %d\n" % (release if i % 10 == 0 else 1) + b"x = %d\n" % i * 300)
                  for i in range(200))
    when = 1700000000 + 86400 * release
    lower = (rebuilt, when) if case == "rebuilt" else (None, None)
    return [debian.layer("base", debian.BASE, *lower), debian.layer("runtime", RUNTIME, *lower),
            debian.layer("libraries", LIBRARIES, rebuilt if release > 1 else None, when),
            debian.layer("application", [], None, when, extra)]


def made(name, write):
    """A tar in the cache, written once by `write(archive)`."""
    path = os.path.join(debian.CACHE, name + ".tar")
    if not os.path.exists(path):
        os.makedirs(debian.CACHE, exist_ok=True)
        with tarfile.open(path + ".new", "w", format=tarfile.PAX_FORMAT) as out:
            write(out)
        os.rename(path + ".new", path)
    return path


def small_files():
    """(path, content) of the small files of some packages."""
    for archive in debian.packages(SOURCES):
        unpacked = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE)
        with tarfile.open(fileobj=unpacked.stdout, mode="r|") as package:
            for entry in package:
                if entry.isreg() and 0 < entry.size <= SMALL:
                    yield os.path.normpath(entry.name), package.extractfile(entry).read()
        unpacked.wait()


def many(case):
    """The base, and one layer of small source files in three variants, times and owners equal in both releases, as package managers
    unpack them. The update has three of ten directories with new contents."""
    def write(out):
        made = set()
        for path, data in small_files():
            for variant in range(3):
                name = "srv/web/v%d/%s" % (variant, path)
                parents = name.split("/")
                for depth in range(1, len(parents)):
                    parent = "/".join(parents[:depth])
                    if parent not in made:
                        made.add(parent)
                        debian.add(out, parent, None, type=tarfile.DIRTYPE, mode=0o755)
                fresh = case == "update" and zlib.crc32(os.path.dirname(name).encode()) % 10 < 3
                debian.add(out, name, None, data=data + b"variant %d\n" % variant + b"changed\n" * fresh, mode=0o644)
    return [debian.layer("base", debian.BASE), made("many-1-" + case, write)]


def weights(size, seed):
    """Bytes like 16-bit weights: one byte of each is noise, the other one of a few."""
    noise = random.Random(seed)
    exponents = bytes(noise.choices([0x3c, 0x3d, 0xbc, 0xbd, 0x3b, 0xbb, 0x3e, 0xbe], [20, 20, 20, 20, 8, 8, 2, 2], k=1 << 16))
    out = bytearray(size)
    out[0::2] = noise.randbytes(size // 2)
    other = bytearray()
    while len(other) < size // 2:
        other += exponents if noise.random() < .5 else exponents[::-1]
    out[1::2] = other[:size // 2]
    return out


def large(case):
    """The base, and one layer of 700 MB in four files. In the update one is the same, one has a new tenth in its middle, one is
    new, and one has 5 MB more at its front."""
    def write(out):
        new = case == "update"
        for name, size, seed in (("same", 300, 1), ("middle", 200, 2), ("new", 100, 98 if new else 3), ("front", 100, 4)):
            data = weights(size * MB, seed)
            if new and name == "middle":
                data[size * MB // 3:size * MB // 3 + size * MB // 10] = weights(size * MB // 10, 99)
            if new and name == "front":
                data = weights(5 * MB, 97) + data
            debian.add(out, "models/%s.bin" % name, 1700000000 + new, data=bytes(data), mode=0o644)
    return [debian.layer("base", debian.BASE), made("large-1-" + case, write)]


CORPORA = {corpus.name: corpus for corpus in (
    Corpus("app", ("cold", "update", "rebuilt"), application, 500e6, 20000),
    Corpus("many", ("cold", "update"), many, 400e6, 80000),
    Corpus("large", ("cold", "update"), large, 700e6, 4),
)}


def blob_path(lab, digest):
    """The registry's own file of a blob."""
    digits = digest.split(":")[1]
    return lab.path("registry", "docker", "registry", "v2", "blobs", "sha256", digits[:2], digits, "data")
