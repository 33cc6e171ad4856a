"""Types of entries, what replaces what, and how a tar ends."""
from lib.image import Image
from lib.play import case, play_image
from lib.rawtar import END, GNU, V7, block, directory, file, layer, symlink

AS_CONTAINERD = ("same", "refused")
X = b"x"
A, B = file(b"a", X), file(b"b", X)


def entries(name, title, *parts, end=END, expected=AS_CONTAINERD):
    @case("entries-" + name, title, expected)
    def _():
        return play_image(Image(layer(*parts, end=end)))


entries("dumpdir", "type D (GNU dumpdir)", file(b"d/", b"Yf\0\0", type=b"D", **GNU))
for letter in "ZMNVXABI78s":
    entries("type-" + letter, "type " + letter, file(b"z", X, type=letter.encode()), A)
entries("type-zero-byte", "type \\0 with a trailing slash, and with data", file(b"d/", b"", type=b"\0", **V7), file(b"f", X, type=b"\0", **V7))
entries("file-with-slash", "type 0 with a trailing slash", file(b"d/", b""), file(b"d/f", X))
entries("file-with-slash-and-data", "type 0 with a trailing slash and a payload", file(b"d/", X), A)
entries("contiguous", "type 7 with data", file(b"c", b"hello", type=b"7"), A)
entries("nodes-with-sizes", "FIFO, character and block device with sizes", block(b"p", type=b"6", size=512), block(b"c", type=b"3", major=1, minor=3, size=512),
        block(b"k", type=b"4", major=7, minor=0, size=512))
entries("symlink-with-size", "a symlink with a size", block(b"s", type=b"2", link=b"t", size=5), A)
entries("directory-with-size", "a directory with a size", block(b"d/", type=b"5", size=512, mode=0o755), A)
entries("symlink-without-target", "a symlink without a target", block(b"s", type=b"2"))
entries("symlink-with-slash", "a symlink's name with a trailing slash", symlink(b"s/", b"t"))
entries("no-name", "a file without a name", file(b"", X), A)
entries("name-of-slashes", "a file named ///", file(b"///", X), A)
entries("name-with-double-slash", "a//b", file(b"a//b", X))
entries("name-with-dots", "a/./b/../c", directory(b"a/"), directory(b"a/b/"), file(b"a/./b/../c", X))
entries("below-file", "a file below a file", A, file(b"a/b", X))
entries("below-symlink", "a file below a symlink to a directory", directory(b"d/"), symlink(b"s", b"d"), file(b"s/f", X))
entries("below-absolute-symlink", "a file below a symlink to /d", directory(b"d/"), symlink(b"s", b"/d"), file(b"s/f", X))
entries("below-dangling-symlink", "a file below a symlink that leads nowhere", symlink(b"s", b"zz"), file(b"s/f", X))
entries("below-symlink-out", "a file below a symlink to ../../..", symlink(b"s", b"../../.."), file(b"s/f", X))
entries("below-symlink-to-itself", "a file below a symlink to itself", symlink(b"s", b"s"), file(b"s/f", X))
entries("directory-over-symlink", "a directory where a symlink to one was", directory(b"d/"), symlink(b"s", b"d"), directory(b"s/"), file(b"s/f", X))
entries("directory-over-file", "a directory where a file was", A, directory(b"a/"), file(b"a/f", X))
entries("file-over-directory", "a file where a directory was", directory(b"a/"), file(b"a/f", X), A)
entries("file-over-empty-directory", "a file where an empty directory was", directory(b"a/"), A)
entries("symlink-over-directory", "a symlink where a directory was", directory(b"a/"), file(b"a/f", X), symlink(b"a", b"b"),
        expected=("same", "ours"))
entries("file-over-symlink", "a file where a symlink was", B, symlink(b"a", b"b"), file(b"a", b"new"))
entries("file-twice", "a file twice", A, file(b"a", b"other"))
entries("file-twice-spelled-otherwise", "a file twice, spelled ./a", A, file(b"./a", b"other"))
entries("directory-twice", "a directory twice, with other modes", directory(b"d/", mode=0o700), file(b"d/f", X), directory(b"d/", mode=0o755))
entries("fifo-over-file", "a FIFO where a file was", A, block(b"a", type=b"6"))
entries("root-file", "a file named /", file(b"/", X), A)
entries("name-255", "a name of 255 bytes below a prefix", file(b"n" * 100, X, prefix=b"p" * 150))

entries("end-zero-block-between", "a block of zeros between entries", A, bytes(512), B)
entries("end-two-zero-blocks-between", "two blocks of zeros between entries", A, bytes(1024), B)
entries("end-one-zero-block", "one block of zeros at the end", A, end=bytes(512))
entries("end-none", "no end at all", A, end=b"")
entries("end-junk", "100 bytes of junk instead of an end", A, end=b"j" * 100)
entries("end-junk-block", "a block of junk instead of an end", A, end=b"j" * 512)
entries("end-junk-behind", "junk behind the end", A, end=bytes(1024) + b"j" * 1000)
entries("end-100-zeros", "100 zero bytes at the end", A, end=bytes(100))
entries("end-600-zeros", "600 zero bytes at the end", A, end=bytes(600))
entries("end-zero-block-and-junk", "a block of zeros, then junk", A, end=bytes(512) + b"j" * 512)
entries("end-blocking", "an end of 10 KiB", A, end=bytes(10240))
entries("cut-padding", "cut in the padding of the last file", file(b"a", X)[:513], end=b"")
entries("cut-payload", "cut in a payload", file(b"a", X * 1000)[:900], end=b"")
entries("cut-payload-end", "cut where the payload ends", file(b"a", X * 1000)[:1512], end=b"")
entries("cut-header", "cut in a header", A, end=file(b"b", X)[:300])
entries("cut-record", "cut in an extension's payload", A, end=file(b"P/x", b"20 path=" + b"a" * 600, type=b"x")[:700])
