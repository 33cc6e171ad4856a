"""Image layers from real Debian packages: downloaded by apt, unpacked, never installed. Cached below .tools."""
import hashlib
import inspect
import io
import os
import shutil
import subprocess
import tarfile

from lab import ROOT, Failure, run

CACHE = os.path.join(ROOT, ".tools", "corpus")
# What a shell and Python need to run in a root of its own.
BASE = ("base-files bash coreutils dash libacl1 libattr1 libc6 libc-bin libgcc-s1 libgmp10 libpcre2-8-0 libselinux1 libssl3 "
        "libtinfo6 zlib1g libcrypt1 libexpat1 libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libreadline8 media-types "
        "libpython3.11-minimal libpython3.11-stdlib python3.11-minimal python3.11").split()


def packages(names):
    """Paths of the packages' archives."""
    directory = os.path.join(CACHE, "debs")
    os.makedirs(directory, exist_ok=True)
    def have():
        return {f.split("_")[0]: os.path.join(directory, f) for f in os.listdir(directory) if f.endswith(".deb")}
    missing = [name for name in names if name not in have()]
    if missing:
        command = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "-qq", *missing]
        for attempt in (1, 2):
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
            if done.returncode == 0:
                break
            # An old package list names versions that are gone.
            run("apt-get", "update", "-qq")
        else:
            raise Failure("apt-get download failed:\n" + done.stderr)
    files = have()
    return [files[name] for name in names]


def short(value):
    """A name for a value, to find again what was made from it."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


def registry(lab, name, tars, push):
    """Address of a registry that holds what `push(address)` makes of these tars: pushed once, then kept in CACHE."""
    kept = os.path.join(CACHE, "%s-registry-%s" % (name, short([os.path.basename(path) for path in tars])))
    if not os.path.isdir(kept):
        push(lab.registry())
        lab.processes.pop().stop()
        # Another name until it is whole: this may be interrupted.
        shutil.rmtree(kept + ".new", ignore_errors=True)
        shutil.copytree(lab.path("registry"), kept + ".new")
        os.rename(kept + ".new", kept)
        shutil.rmtree(lab.path("registry"))
    os.symlink(kept, lab.path("registry"))
    return lab.registry()


def layer(name, wanted, change=None, mtime=None, extra=()):
    """The tar of a layer with the contents of the `wanted` packages, path of the file.

    `change(path, data)` gives the new content of a file; `mtime` is given to everything, as a rebuild does; `extra` is
    (path, mode, content) of further files.
    """
    made_from = (wanted, change and inspect.getsource(change), mtime, extra, 3)
    path = os.path.join(CACHE, "%s-%s.tar" % (name, short(made_from)))
    if os.path.exists(path):
        return path
    os.makedirs(CACHE, exist_ok=True)
    seen = set()
    with tarfile.open(path + ".new", "w", format=tarfile.PAX_FORMAT) as out:
        for link, target in (("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")):
            if name == "base":
                add(out, link, mtime, type=tarfile.SYMTYPE, linkname=target, mode=0o777)
        for archive in packages(wanted):
            unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True).stdout
            with tarfile.open(fileobj=io.BytesIO(unpacked)) as package:
                for entry in package:
                    copy(out, package, entry, seen, change, mtime)
        for where, mode, content in extra:
            add(out, where, mtime, data=content, mode=mode)
    os.rename(path + ".new", path)
    return path


def add(out, name, mtime, data=b"", **fields):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(data), mtime or 1700000000
    for key, value in fields.items():
        setattr(entry, key, value)
    out.addfile(entry, io.BytesIO(data))


def merged(name):
    """A package's path in a merged-/usr system."""
    name = os.path.normpath(name).lstrip("/")
    top, _, rest = name.partition("/")
    return "usr/" + name if top in ("bin", "lib", "lib64", "sbin") else name


def copy(out, package, entry, seen, change, mtime):
    name = merged(entry.name)
    if name in seen:
        return
    seen.add(name)
    entry.name = name
    if entry.islnk():
        entry.linkname = merged(entry.linkname)
    entry.pax_headers = {}
    if mtime:
        entry.mtime = mtime
    if not entry.isreg():
        return out.addfile(entry)
    data = package.extractfile(entry).read()
    if change:
        data = change(name, data)
        entry.size = len(data)
    out.addfile(entry, io.BytesIO(data))


def size_and_files(path):
    with tarfile.open(path) as archive:
        return os.path.getsize(path), sum(entry.isreg() for entry in archive)
