"""Tars that a writer must not hold in memory: streamed into it, never on disk; the blobs are verified by the inspector."""
import hashlib
import json
import os
import random
import subprocess
import tarfile
import time

from memory import high_water

GIB = 1 << 30


def header(name, size=0, kind=tarfile.REGTYPE, link=""):
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.linkname, entry.mtime = size, kind, link, 1700000000
    return entry.tobuf(tarfile.GNU_FORMAT)


def one_file(gibibytes):
    """A file that is partly new, partly repeated and partly a hole."""
    block = random.Random(1).randbytes(1 << 20)
    yield header("big", gibibytes * GIB)
    for number in range(gibibytes << 10):
        kind = number % 8
        if kind < 5:
            yield block[number % 4096:] + block[:number % 4096]
        elif kind < 7:
            yield (b"line %9d\n" % number) * (1 << 20 >> 4) + b"\0" * ((1 << 20) - 15 * (1 << 20 >> 4))
        else:
            yield bytes(1 << 20)
    yield bytes(10240)


def many_files(count):
    data = random.Random(2).randbytes(8192)
    for number in range(count):
        size = number % 3000
        yield header("usr/share/d%d/f%d" % (number // 100, number), size) + data[:size] + bytes(-size % 512)
    yield bytes(10240)


def many_links(count):
    for number in range(count):
        yield header("usr/lib/links/%d/%d" % (number // 1000, number), 0, tarfile.SYMTYPE, "../../target-%d" % number)
    yield bytes(10240)


def one_chunk(gibibytes):
    """A file without any cut, so that its only chunk is the whole of it."""
    yield header("same", gibibytes * GIB)
    for _ in range(gibibytes << 10):
        yield b"x" * (1 << 20)
    yield bytes(10240)


CASES = [
    ("a file of 5 GiB", lambda: one_file(5), []),
    ("a chunk of 2 GiB", lambda: one_chunk(2), []),
    ("100 000 files", lambda: many_files(100000), []),
    ("500 000 links", lambda: many_links(500000), []),
    ("100 000 files, level 19, 64 threads", lambda: many_files(100000), ["--level", "19", "--threads", "64"]),
]


def measure(compress, inspect, directory):
    """[(case, tar bytes, seconds, peak bytes, blob bytes)]; ends the program if a blob is not sound."""
    rows = []
    for name, pieces, flags in CASES:
        blob = os.path.join(directory, "bounded")
        started = time.monotonic()
        child = subprocess.Popen([compress, *flags, "/dev/stdin", blob], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        digest, size, peak = hashlib.sha256(), 0, 0
        for number, piece in enumerate(pieces()):
            child.stdin.write(piece)
            digest.update(piece)
            size += len(piece)
            if number % 512 == 0:
                peak = max(peak, high_water(child.pid))
        peak = max(peak, high_water(child.pid))
        child.stdin.close()
        said = child.stdout.read().decode()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall, peak = time.monotonic() - started, max(peak, usage.ru_maxrss << 10)
        found = json.loads(subprocess.run([inspect, blob], capture_output=True, text=True).stdout)
        if child.returncode or found["problems"] or found["verified"]["diff_id"] != "sha256:" + digest.hexdigest():
            raise SystemExit("%s: exit %d, %s\n%s" % (name, child.returncode, found["problems"], said))
        kind = "chunked" if found["generation"] == "f" else "plain: " + said.split("plain ")[-1].strip()
        rows.append((name, size, wall, peak, os.path.getsize(blob), kind))
        os.unlink(blob)
    return rows
