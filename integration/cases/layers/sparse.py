"""Sparse files, in every form that GNU tar writes."""
import os
import subprocess

from lib import machine
from lib.image import Image
from lib.play import case, play_image
from lib.rawtar import GNU, END, block, file, marker, octal, padded

FORMS = {"gnu": ["--format=gnu"], "0.0": ["--format=posix", "--sparse-version=0.0"], "0.1": ["--format=posix", "--sparse-version=0.1"],
         "1.0": ["--format=posix", "--sparse-version=1.0"]}


def sparse_file(where, pieces):
    """Writes a file of 64 MiB with data at these offsets only."""
    with open(where + "/s", "wb") as f:
        for at in pieces:
            f.seek(at)
            f.write(b"data at %d" % at + bytes(4000))
        f.truncate(64 << 20)
    os.utime(where + "/s", (1700000000, 1700000000))


def written_by_tar(form, pieces):
    """The layer that GNU tar makes of it."""
    where = machine.scratch("sparse")
    sparse_file(where, pieces)
    command = ["tar", "-C", where, "--sparse", "--hole-detection=raw", *FORMS[form], "--owner=0", "--group=0", "-b1", "-cf", "-", "s"]
    return marker() + subprocess.run(command, capture_output=True, check=True).stdout


def sparse(name, title, form, pieces):
    # containerd's unpack refuses GNU's own form; it is what other unpackers take, so we take it.
    @case("sparse-" + name, title, ("same", "ours") if form == "gnu" else "same")
    def _():
        return play_image(Image(written_by_tar(form, pieces)))


for form in FORMS:
    sparse(form, "form %s, two pieces" % form, form, (0, 1 << 20))
    sparse(form + "-many", "form %s, a map of a hundred pieces" % form, form, [n << 19 for n in range(100)])
    sparse(form + "-empty", "form %s, no data" % form, form, ())


def old_sparse(name, title, *pieces, real=100, data=b"x" * 10):
    @case("sparse-map-" + name, title, ("same", "refused", "ours"))
    def _():
        fields = [(386 + 12 * n, octal(number, 12)) for n, number in enumerate(number for piece in pieces for number in piece)] + [(483, octal(real, 12))]
        return play_image(Image(marker() + block(b"s", size=len(data), type=b"S", fields=fields, **GNU) + padded(data) + file(b"after", b"x") + END))


old_sparse("plain", "GNU's form by hand: one piece", (50, 10))
old_sparse("beyond", "a piece beyond the file's end", (95, 10))
old_sparse("overlapping", "two pieces that overlap", (10, 5), (12, 5))
old_sparse("backwards", "two pieces in the wrong order", (50, 5), (10, 5))
old_sparse("too-little-data", "a map that wants more than there is", (0, 20))
old_sparse("too-much-data", "a map that wants less than there is", (0, 5))
