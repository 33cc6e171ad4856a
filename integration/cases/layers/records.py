"""Extension headers: PAX records, GNU's long names, and their order, as Go's archive/tar reads them."""
from lib.image import Image
from lib.play import case, play_image
from lib.rawtar import GNU, file, layer, long_name, long_target, pax, record, symlink

AS_CONTAINERD = ("same", "refused")
X = b"x"
NAME, LINK = file(b"name", X), symlink(b"s", b"target")


def records(name, title, *parts, expected=AS_CONTAINERD):
    @case("records-" + name, title, expected)
    def _():
        return play_image(Image(layer(*parts)))


def raw(text):
    return pax(None, raw=text)


# ---------------------------------------------------------------- order

records("two-x", "two x headers in a row", pax({"path": "real"}), pax({"mtime": "1600000000"}), NAME)
records("two-x-same-key", "two x headers with the same key", pax({"path": "one"}), pax({"path": "two"}), NAME)
records("x-then-L", "x path=A, L with B", pax({"path": "A"}), long_name(b"B\0"), NAME)
records("L-then-x", "L with B, x path=A", long_name(b"B\0"), pax({"path": "A"}), NAME)
records("x-then-K", "x linkpath=A, K with B", pax({"linkpath": "A"}), long_target(b"B\0"), LINK)
records("K-then-x", "K with B, x linkpath=A", long_target(b"B\0"), pax({"linkpath": "A"}), LINK)
records("L-K", "L, K, then a symlink", long_name(b"long\0"), long_target(b"far\0"), LINK)
records("L-L", "two L in a row", long_name(b"one\0"), long_name(b"two\0"), NAME)
records("L-x-K-x", "four of them", long_name(b"one\0"), pax({"mtime": "1500000000.5"}), long_target(b"far\0"), pax({"uid": "70000"}), LINK)
records("g-before", "a global path", pax({"path": "global"}, type=b"g"), NAME)
records("g-owner", "a global owner, two files", pax({"uid": "5"}, type=b"g"), NAME, file(b"other", X))
records("g-between", "x, g, a file", pax({"path": "local"}), pax({"comment": "c"}, type=b"g"), NAME)
records("g-broken", "a global header with broken records", pax(None, raw=b"99 path=real\n", type=b"g"), NAME)
records("g-after-L", "L, g, a file", long_name(b"long\0"), pax({"comment": "c"}, type=b"g"), NAME)
records("g-last", "a global header at the end", NAME, pax({"comment": "c"}, type=b"g"))
records("g-git", "git archive's global header", pax({"comment": "a" * 40}, type=b"g", name=b"pax_global_header"), NAME)
records("x-last", "an x header at the end", NAME, pax({"path": "nobody"}))
records("L-last", "an L header at the end", NAME, long_name(b"nobody\0"))

# ---------------------------------------------------------------- GNU's long names

for name, data in (("slash", b"B/"), ("slash-zero", b"B/\0"), ("zeros", b"name\0\0\0"), ("no-zero", b"name"), ("zero-inside", b"abc\0def\0"), ("empty", b""),
                   ("only-zero", b"\0"), ("zero-first", b"\0name\0"), ("newline", b"a\nb\0"), ("bytes", b"caf\xe9\0"), ("absolute", b"/abs\0"),
                   ("climbing", b"../up\0"), ("component-256", b"n" * 256 + b"\0"), ("too-long", b"/".join([b"n" * 99] * 50) + b"\0")):
    records("L-" + name, "L with %r" % data[:20], long_name(data), file(b"short", b"", **GNU))
for name, data in (("zeros", b"target\0\0\0"), ("no-zero", b"target"), ("zero-inside", b"abc\0def\0"), ("empty", b""), ("only-zero", b"\0"), ("4095", b"t" * 4095 + b"\0"),
                   ("too-long", b"t" * 5000 + b"\0")):
    records("K-" + name, "K with %r" % data[:20], long_target(data), symlink(b"short", X, **GNU))
records("L-in-ustar", "L with ustar's magic", long_name(b"long\0", magic=b"ustar\0", version=b"00"), NAME)
records("L-mode", "L that has a mode and a link", long_name(b"long\0", link=b"zz"), NAME)

# ---------------------------------------------------------------- values

for key, name, values in (
        ("path", "path", ["", "a\nb=c", "./p", "/abs", "dir/", "a//b", "a/./b", "..", " ", "é", "p" * 256, "/".join(["d" * 200] * 8)]),
        ("uid", "uid", ["", "+7", "-2", "-1", "1000.5", " 7", "7 ", "0x7", "4294967294", "4294967295", "4294967296", "007", "99999999999999999999", "1e3"]),
        ("mtime", "mtime", ["", ".5", "5.", "-1", "-1.5", "1600000000.123456789123", "1600000000.", "yesterday", "+5", "1 ", "99999999999", "0", "-0.5", "1.5.5", "1e9"]),
        ("size", "size", ["", "1", "five", "-1", "+1", "1 ", "01", "9223372036854775808"])):
    for number, value in enumerate(values):
        records("%s-%d" % (name, number), "%s=%r" % (key, value[:40]), pax({key: value}), NAME, file(b"after", b"y"))
for number, value in enumerate(["", "A", "a\nb", "t" * 4095, "t" * 5000, "/abs", "é", "..", " "]):
    records("linkpath-%d" % number, "linkpath=%r" % value[:40], pax({"linkpath": value}), LINK)
for number, value in enumerate([b"a\0b", b"\0", b"caf\xe9", b"\xff"]):
    records("path-bytes-%d" % number, "path=%r" % value, pax({b"path": value}), NAME)
    records("linkpath-bytes-%d" % number, "linkpath=%r" % value, pax({b"linkpath": value}), LINK)
    records("uname-bytes-%d" % number, "uname=%r" % value, pax({b"uname": value, b"gname": value}), NAME)
records("size-overrides", "a size of 5 where the header says 0", pax({"size": "5"}), file(b"a", b"hello", size=0), file(b"b", X))
records("size-of-directory", "a size of 5 for a directory", pax({"size": "5"}), file(b"d/", b"hello", size=0, type=b"5"), file(b"b", X))
records("all-empty", "uid, gid, mtime and size without a value", pax({"uid": "", "gid": "", "mtime": "", "size": ""}), file(b"name", X, uid=5, gid=6))
records("both-owners", "uid and gid 4294967294", pax({"uid": "4294967294", "gid": "4294967294"}), NAME)
records("path-set-and-emptied", "path=set, then path= in one header", pax([("path", "set"), ("path", "")]), NAME)
records("path-twice", "path twice in one header", pax([("path", "one"), ("path", "two")]), NAME)
records("hdrcharset", "hdrcharset=BINARY and a path that is not UTF-8", pax({b"hdrcharset": b"BINARY", b"path": b"caf\xe9"}), NAME)
records("times", "atime and ctime", pax({"atime": "1500000000.5", "ctime": "1500000000"}), NAME)
records("atime-broken", "an atime that is no number", pax({"atime": "x"}), NAME)
records("owner-names", "uname and gname beside numbers", pax({"uname": "daemon", "gname": "daemon"}), file(b"name", X, uid=5, gid=6))
records("device-records", "SCHILY.devmajor and SCHILY.devminor", pax({"SCHILY.devmajor": "1", "SCHILY.devminor": "3"}), file(b"n", b"", type=b"3", major=9, minor=9))
records("unknown-keys", "keys of star, Solaris and nobody", pax({"SCHILY.dev": "5", "SUN.devmajor": "6", "VENDOR.x": "y", "comment": "z"}), NAME)

# ---------------------------------------------------------------- form

records("key-bytes", "a key that is not UTF-8, a comment of bytes", pax({b"caf\xe9": X, b"comment": b"\xff\xfe"}), NAME)
for name, text in (("no-key", b"6 =xy\n"), ("no-equals", b"7 path\n"), ("no-newline", b"11 path=ab"), ("too-long", b"99 path=ab\n"), ("too-short", b"8 path=abc\n"),
                   ("no-length", b"path=ab\n"), ("zero-length", b"0 path=ab\n"), ("zeros-first", b"0011 path=a\n"), ("plus", b"+11 path=ab\n"), ("two-spaces", b"12  path=ab\n"),
                   ("negative", b"-11 path=ab\n"), ("junk-behind", b"11 path=ab\njunk"), ("zeros-behind", b"11 path=ab\n\0\0\0\0"), ("empty", b""),
                   ("newlines", b"11 path=ab\n\n"), ("huge", b"99999999999999999999 path=ab\n")):
    records("form-" + name, "records %r" % text, raw(text), NAME)
records("large", "an x header of 900 KiB", pax({"comment": "c" * 900_000}), NAME)
records("too-large", "an x header of 2 MiB", pax({"comment": "c" * 2_000_000}), NAME)
records("many", "ten thousand records", raw(b"".join(record("k%d" % n, "v") for n in range(10_000))), NAME)
records("x-of-size-zero", "an x header without records", raw(b""), NAME)
