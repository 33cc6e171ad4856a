"""Writes tars block by block, so that a case can have any header there is, right or wrong. Names and values are bytes."""
import itertools
import os
import time

GNU = {"magic": b"ustar ", "version": b" \0"}
V7 = {"magic": b"\0" * 6, "version": b"\0\0"}
NO_VERSION = {"version": b"\0\0"}
END = bytes(1024)

_number = itertools.count(1)
_run = "%x-%x" % (int(time.time()), os.getpid())


def unique():
    """A text that no other case has: what it is written into is shared with nothing."""
    return "%s-%d" % (_run, next(_number))


def padded(data):
    return data + bytes(-len(data) % 512)


def octal(value, width):
    return b"%0*o\0" % (width - 1, value)


def block(name, size=0, mode=0o644, uid=0, gid=0, mtime=1700000000, type=b"0", link=b"", magic=b"ustar\0", version=b"00",
          uname=b"", gname=b"", major=None, minor=None, prefix=b"", fields=(), checksum=None):
    """One header of 512 bytes.

    A number may be given as bytes, which are written as they are. `fields` are (offset, bytes) that are written over the rest.
    `checksum` is None (right), "signed" (as old programs summed) or the field's bytes.
    """
    header = bytearray(512)
    def put(at, width, value):
        value = octal(value, width) if isinstance(value, int) else value
        header[at:at + len(value)] = value
    for at, width, value in ((0, 100, name), (100, 8, mode), (108, 8, uid), (116, 8, gid), (124, 12, size), (136, 12, mtime),
                             (156, 1, type), (157, 100, link), (257, 6, magic), (263, 2, version), (265, 32, uname),
                             (297, 32, gname), (345, 155, prefix)):
        put(at, width, value)
    if major is not None:
        put(329, 8, major)
        put(337, 8, minor)
    for at, value in fields:
        header[at:at + len(value)] = value
    if len(header) != 512:
        raise ValueError("a field is too long for its header")
    sum_up(header, checksum)
    return bytes(header)


def sum_up(header, checksum):
    """Writes the checksum into a header, as `block` describes it."""
    if isinstance(checksum, bytes):
        header[148:148 + len(checksum)] = checksum
        return
    header[148:156] = b" " * 8
    total = sum(byte - 256 if byte >= 128 and checksum == "signed" else byte for byte in header)
    header[148:156] = b"%06o\0 " % total


def file(name, data=b"", **more):
    more.setdefault("size", len(data))
    return block(name, **more) + padded(data)


def directory(name, mode=0o755, **more):
    return block(name, mode=mode, type=b"5", **more)


def symlink(name, target, **more):
    more.setdefault("mode", 0o777)
    return block(name, type=b"2", link=target, **more)


def hardlink(name, target, **more):
    return block(name, type=b"1", link=target, **more)


def device(name, major, minor, type=b"3", **more):
    return block(name, type=type, major=major, minor=minor, **more)


def whiteout(path):
    """The whiteout of `a/b`, which is `a/.wh.b`."""
    head, _, tail = path.rpartition(b"/")
    return file((head + b"/" if head else b"") + b".wh." + tail)


def opaque(path):
    return file(path + b"/.wh..wh..opq" if path else b".wh..wh..opq")


def record(key, value):
    """One PAX record with its length before it."""
    body = b" " + (key.encode() if isinstance(key, str) else key) + b"=" + (value.encode() if isinstance(value, str) else value) + b"\n"
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


def pax(records, type=b"x", raw=None, **more):
    """An extension header: records as a dictionary or as pairs, or `raw` instead of them."""
    items = records.items() if isinstance(records, dict) else records
    data = raw if raw is not None else b"".join(record(key, value) for key, value in items)
    more.setdefault("name", b"PaxHeaders.0/x")
    return file(more.pop("name"), data, type=type, **more)


def xattr(name, value):
    return pax({b"SCHILY.xattr." + name: value})


def long_name(data, kind=b"L", **more):
    """GNU's extension header for a name (`L`) or a link's target (`K`)."""
    return file(b"././@LongLink", data, type=kind, mode=0, mtime=0, **{**GNU, **more})


def long_target(data):
    return long_name(data, b"K")


def tar(*parts, end=END):
    return b"".join(parts) + end


def marker():
    """A file that makes a layer's DiffID unique."""
    return file(b".case-marker", unique().encode())


def layer(*parts, end=END):
    """A layer that no other case shares."""
    return tar(marker(), *parts, end=end)
