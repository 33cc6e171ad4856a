"""Header blocks: magic, prefix, checksum and numbers, as Go's archive/tar reads them."""
from lib.image import Image
from lib.play import case, play_image
from lib.rawtar import GNU, NO_VERSION, V7, block, device, directory, file, layer, octal, pax, symlink

# Ours must read what containerd's unpack reads, and refuse what it refuses.
AS_CONTAINERD = ("same", "refused")
X = b"x"
SPACE_00 = {"magic": b"ustar ", "version": b"00"}


def header(name, title, *parts, expected=AS_CONTAINERD):
    @case("headers-" + name, title, expected)
    def _():
        return play_image(Image(layer(*parts)))


# ---------------------------------------------------------------- GNU headers with a prefix (Go before 1.8 wrote them)

LONG = b"usr/lib/node_modules/" + b"/".join([b"p%d" % n * 4 for n in range(11)])
header("gnu-times", "GNU header with atime and ctime", file(b"f", X, fields=[(345, b"14000000000\0" + b"14000000001\0")], **GNU))
header("gnu-prefix-digits", "GNU magic, a prefix that begins with octal digits", file(b"f", X, prefix=b"0123/abc", **GNU))
header("gnu-prefix-short", "GNU magic, prefix usr/lib", file(b"f", X, prefix=b"usr/lib", **GNU))
header("gnu-prefix-long", "GNU magic, a prefix of 120 bytes", file(b"f", X * 100000, prefix=LONG[:120], **GNU))
header("gnu-prefix-directory", "GNU magic, a prefix, directory and file", directory(b"node/", prefix=b"usr/lib", **GNU), file(b"f", X, prefix=b"usr/lib/node", **GNU))
header("gnu-prefix-bytes", "GNU magic, a prefix with bytes >= 0x80", file(b"f", X, prefix=b"usr/l\xc3\xadb", **GNU))
header("gnu-prefix-control", "GNU magic, a prefix with a control character", file(b"f", X, prefix=b"usr\nlib", **GNU))
header("gnu-prefix-full", "GNU magic, a prefix of 155 bytes", file(b"f", X, prefix=b"/".join([b"d" * 51] * 3), **GNU))
header("gnu-prefix-symlink", "GNU magic, a prefix, and a symlink", symlink(b"s", b"t", prefix=b"usr/lib", **GNU))
header("gnu-sparse-fields", "GNU magic, type 0, and bytes where sparse files have their map", file(b"f", X, fields=[(386, b"00000000000\0" + b"00000000001\0")], **GNU))
header("gnu-times-broken", "GNU magic, an atime that is no number", file(b"f", X, fields=[(345, b"no number!!\0")], **GNU))

# ---------------------------------------------------------------- magic and version

header("no-version-with-record", "ustar without a version, and an x header", pax({"path": "real"}, **NO_VERSION), file(b"short", X, **NO_VERSION))
header("no-version-with-prefix", "ustar without a version, and a prefix", file(b"short", X, prefix=b"dir/sub", **NO_VERSION))
header("version-01", "ustar of version 01", file(b"short", X, prefix=b"dir", version=b"01"))
header("version-of-spaces", "ustar of version two spaces", file(b"short", X, prefix=b"dir", version=b"  "))
header("v7-record", "a V7 header of type x before a ustar entry", pax({"path": "real"}, **V7), file(b"short", X))
header("v7-junk", "a V7 header with junk behind the link", file(b"v7", X, fields=[(257, b"junk" * 40)], magic=b"", version=b""))
header("v7-directory", "V7 with a trailing slash, type 0", file(b"d/", b"", **V7), file(b"d/f", X, **V7))
header("v7-owner-names", "V7 with names where ustar has them", file(b"f", X, uname=b"root", gname=b"root", prefix=b"p", **V7))
header("ustar-with-space", "`ustar ` of version 00, which is neither", pax({"path": "real"}, **SPACE_00), file(b"short", X, prefix=b"q", **SPACE_00))
header("capital-magic", "USTAR", file(b"short", X, prefix=b"q", magic=b"USTAR\0"))
header("star", "star's trailer, a prefix of 131 bytes, times behind it",
       file(b"n", X, prefix=b"p" * 131, fields=[(476, b"14000000000\0"), (488, b"14000000000\0"), (508, b"tar\0")]))
header("star-short-prefix", "star's trailer and a short prefix", file(b"n", X, prefix=b"p/q", fields=[(476, b"14000000000\0"), (488, b"14000000000\0"), (508, b"tar\0")]))
header("almost-star", "star's trailer, and times that are no numbers", file(b"n", X, prefix=b"p" * 131, fields=[(476, b"not a time!\0"), (508, b"tar\0")]))
header("full-fields", "name and link of 100 bytes, prefix of 155, without zero bytes",
       file(b"n" * 100, X, prefix=b"/".join([b"d" * 51] * 3)), symlink(b"s", b"t" * 100))
header("prefix-with-slash", "a prefix that ends with a slash", file(b"n", X, prefix=b"pre/"))
header("prefix-absolute", "a prefix that begins with a slash", file(b"n", X, prefix=b"/pre"))
header("prefix-without-name", "a prefix and no name", file(b"", X, prefix=b"pre"))
header("name-not-utf8", "a name that is not UTF-8", file(b"caf\xe9", X), symlink(b"l", b"\xff\xfe"))
header("names-of-dots", "names ., ./, / and ..", directory(b"./", mode=0o700), file(b"../up", X), directory(b"/", mode=0o711))
header("junk-behind-zero", "a name with junk behind its zero byte", file(b"name\0junk", X))

# ---------------------------------------------------------------- checksum

NAME8 = b"caf\xc3\xa9"
header("checksum-signed", "a signed sum, a name with bytes >= 0x80", file(NAME8, X, checksum="signed"))
header("checksum-wrong", "a wrong sum", file(b"name", X, checksum=b"000001\0 "))
header("checksum-empty", "no sum at all", file(b"name", X, checksum=b"\0" * 8))
header("checksum-of-spaces", "a sum of spaces", file(b"name", X, checksum=b" " * 8))


def summed(form):
    """A header whose right sum is written in this form."""
    made = bytearray(block(b"name", size=1))
    total = int(bytes(made[148:154]), 8)
    made[148:156] = (form % total).ljust(8, b"\0")[:8]
    return bytes(made) + X.ljust(512, b"\0")


for name, form in (("spaces-first", b"  %o\0 "), ("no-zero", b"%08o"), ("zero-first", b"\0%06o "), ("space-last", b"%07o "), ("decimal", b"%d\0"), ("plus", b"+%06o\0")):
    header("checksum-" + name, "the right sum, written as %r" % form.decode(), summed(form))

# ---------------------------------------------------------------- numbers


def number(name, title, **fields):
    header("number-" + name, title, file(b"name", X, **fields), file(b"after", b"y"))


number("uid-zero-first", "uid \\0 and 001750", uid=b"\x00001750\0")
number("mode-zero-first", "mode \\0 and 000755", mode=b"\x00000755\0")
number("mtime-zero-first", "mtime \\0 and octal", mtime=b"\x0014000000000")
number("uid-plus", "uid +001750", uid=b"+001750\0")
number("uid-minus", "uid -1", uid=b"-000001\0")
number("uid-spaces", "uid of spaces", uid=b" " * 8)
number("uid-padded", "uid with spaces before and behind", uid=b"  1750  ")
number("uid-inner-space", "uid with a space in it", uid=b"17 50\0\0\0")
number("uid-inner-zero", "uid with a zero byte in it", uid=b"17\x0050\0\0\0")
number("uid-digit-8", "uid with a digit 8", uid=b"0001758\0")
number("uid-hexadecimal", "uid 0x10", uid=b"0x10\0\0\0\0")
number("uid-full", "uid of 8 digits without zero byte", uid=b"00001750")
number("uid-base256", "uid in base 256", uid=b"\x80\0\0\0\0\x2d\xc6\xc0")
number("uid-minus-two", "uid -2 in base 256", uid=b"\xff\xff\xff\xff\xff\xff\xff\xfe")
number("uid-minus-three", "uid and gid -3 in base 256", uid=b"\xff" * 7 + b"\xfd", gid=b"\xff" * 7 + b"\xfd")
number("uid-33-bits", "uid of 33 bits", uid=b"\x80\0\0\1\0\0\0\5")
number("uid-32-bits", "uid 4294967294 in base 256", uid=b"\x80\0\0\0\xff\xff\xff\xfe")
number("mode-zero", "mode of zero bytes", mode=b"\0" * 8)
number("mode-base256", "mode in base 256", mode=b"\x80\0\0\0\0\0\x01\xed")
number("mode-with-type", "mode 0100755", mode=octal(0o100755, 8))
number("mode-all-ones", "mode 07777777", mode=b"7777777\0")
number("mode-negative", "mode -1 in base 256", mode=b"\xff" * 8)
number("mtime-minus-five", "mtime -5 in base 256", mtime=b"\xff" * 11 + b"\xfb")
number("mtime-large", "mtime of the year 4147", mtime=b"\x80" + bytes(6) + b"\x10\0\0\0\0")
number("mtime-beyond", "mtime of 2^62 s", mtime=b"\x80\0\0\0\x40" + bytes(7))
number("mtime-full", "mtime of 12 digits", mtime=b"014000000000")
number("size-full", "size of 12 digits", size=b"000000000001")
number("size-base256", "size in base 256", size=b"\x80" + bytes(10) + b"\x01")
number("size-negative", "size -1 in base 256", size=b"\xff" * 12)
number("size-beyond", "size of 2^63", size=b"\x80\0\0\0\x80" + bytes(7))
number("size-80-bits", "size of 80 bits", size=b"\x80\x01" + bytes(9) + b"\x01")
number("size-spaces", "size with spaces before it", size=b"          1\0")
header("number-size-zero-first", "size \\0\\0 and octal", file(b"name", X * 9, size=b"\0\x00000000011"), file(b"after", b"y"))
header("number-device-base256", "device numbers in base 256", device(b"n", b"\x80\0\0\0\0\0\0\x01", b"\x80\0\0\0\0\0\0\x03"))
header("number-device-large", "device numbers of 12 and 20 bits", device(b"n", 4095, 1048575))
header("number-device-beyond", "a major of 13 bits", device(b"n", 8191, 5))
header("number-device-negative", "device numbers -1", device(b"n", b"\xff" * 8, b"\xff" * 8))
header("number-device-empty", "a major of zero bytes", device(b"n", bytes(8), 3))
header("number-device-of-file", "a file with device numbers that are none", file(b"f", X, major=b"junkjunk", minor=b"junkjunk"))
