"""The images of the benchmark: an application from Debian packages, and its everyday update."""
import hashlib
import json
import os
import shutil
import sys
import tarfile
import zlib

import debian
import images

RUNTIME = "golang-1.19-src openjdk-17-jre-headless libnode108 git vim-runtime perl-modules-5.36".split()
LIBRARIES = ("python3-numpy python3-scipy python3-pandas python3-botocore python3-django python3-sympy python3-sklearn "
             "python3-matplotlib node-typescript").split()
FORMATS = ["zstd:chunked", "gzip", "zstd"]
# What issue and README promise about the corpus.
SMALLEST_TAR, FEWEST_FILES = 500e6, 20000


def rebuilt(path, data):
    """A rebuild a day later: every tenth directory has new versions of its files."""
    if zlib.crc32(os.path.dirname(path).encode()) % 10 or not data:
        return data
    middle = len(data) // 2
    return data[:middle] + b"changed" + data[middle:]


def layers(release):
    """Paths of the layers' tars, lowest first. Release 2 has the two upper ones rebuilt."""
    extra = tuple(("srv/app/m%d.py" % i, 0o644, b"release %d\n" % (release if i % 10 == 0 else 1) + b"x = %d\n" % i * 300)
                  for i in range(200))
    when = 1700000000 + 86400 * release
    change = rebuilt if release > 1 else None
    return [debian.layer("base", debian.BASE), debian.layer("runtime", RUNTIME),
            debian.layer("libraries", LIBRARIES, change, when), debian.layer("application", [], None, when, extra)]


def published(lab):
    """The address of a registry with both releases in every format, and {(release, format): Pushed}."""
    def push_all(registry):
        print("pushing the images with the reference writer (once; some minutes)", file=sys.stderr, flush=True)
        for release in (1, 2):
            push(lab, registry, release)
    registry = debian.registry(lab, "bench", layers(1) + layers(2), push_all)
    return registry, {(release, format): images.Pushed(registry, "test/bench-v%d" % release, format.replace(":", "-"))
                      for release in (1, 2) for format in FORMATS}


def push(lab, registry, release):
    tars = []
    for path in layers(release):
        with open(path, "rb") as f:
            tars.append(f.read())
    images.push(lab, registry, "bench-v%d" % release, tars, FORMATS)
    shutil.rmtree(lab.path("oci-bench-v%d" % release))


def blob_path(lab, digest):
    """The registry's own file of a blob."""
    digits = digest.split(":")[1]
    return lab.path("registry", "docker", "registry", "v2", "blobs", "sha256", digits[:2], digits, "data")


def facts():
    """How large the image is, and what its update changes; counted once, then kept."""
    old, new = layers(1), layers(2)
    kept = os.path.join(debian.CACHE, "bench-facts-%s.json" % debian.short([os.path.basename(path) for path in old + new]))
    if not os.path.exists(kept):
        before, after = contents(old), contents(new)
        differing = [name for name, digest in after.items() if before.get(name) != digest]
        rebuilt_layers = contents([path for path in new if path not in old])
        counted = {"layers": len(old), "layers_rebuilt": len([path for path in new if path not in old]),
                   "tar_bytes": sum(map(os.path.getsize, old)), "files": len(before), "files_changed": len(differing),
                   "files_in_rebuilt_layers": len(rebuilt_layers)}
        with open(kept, "w") as f:
            json.dump(counted, f)
    with open(kept) as f:
        counted = json.load(f)
    if counted["tar_bytes"] < SMALLEST_TAR or counted["files"] < FEWEST_FILES:
        raise SystemExit("the corpus is too small: %s" % counted)
    return counted


def contents(paths):
    """{name: digest} of the regular files in these layers, the uppermost of a name."""
    found = {}
    for path in paths:
        with tarfile.open(path) as archive:
            for entry in archive:
                if entry.isreg():
                    found[entry.name] = hashlib.sha256(archive.extractfile(entry).read()).hexdigest()
    return found
