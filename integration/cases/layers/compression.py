"""Compressed blobs: frames, members, windows, and media types that say something else."""
import gzip
import os
import zlib

from lib.image import GZIP, PLAIN, ZSTD, Image, zstd
from lib.node import short
from lib.play import Seen, blame, case, convert, play_image, pull_to, registry
from lib.rawtar import file, layer

AS_CONTAINERD = ("same", "refused")


def compression(name, title, pack, kind=ZSTD, expected=AS_CONTAINERD):
    @case("compression-" + name, title, expected)
    def _():
        tar = layer(file(b"f", b"hello" * 1000), file(b"g", os.urandom(3000)))
        return play_image(Image(tar, kind=kind, packed=[pack(tar)]))


# containerd's window ends at 512 MiB; a window that the memory budget does not allow may be handed over.
for bits in (23, 27, 28, 29, 30, 31):
    compression("zstd-window-%d" % bits, "a zstd window of 2^%d bytes" % bits, lambda t, bits=bits: zstd(t, "--ultra", "-19", "--long=%d" % bits),
                expected=("same", "refused", "handed over"))
compression("zstd-junk", "junk behind the zstd frame", lambda t: zstd(t) + b"junk")
compression("zstd-zeros", "zeros behind the zstd frame", lambda t: zstd(t) + bytes(512))
compression("zstd-bad-checksum", "a wrong content checksum", lambda t: zstd(t, "--check")[:-4] + b"\0\0\0\0")
compression("zstd-cut", "a frame that is cut", lambda t: zstd(t)[:-10])
compression("zstd-cut-checksum", "a frame without its last two bytes", lambda t: zstd(t, "--check")[:-2])
compression("zstd-two-frames", "two frames", lambda t: zstd(t[:2000]) + zstd(t[2000:]))
compression("zstd-empty-frame-behind", "an empty frame behind", lambda t: zstd(t) + zstd(b""))
compression("zstd-skippable-first", "a skippable frame first", lambda t: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(t))
compression("zstd-skippable-last", "a skippable frame last", lambda t: zstd(t) + b"\x5f\x2a\x4d\x18\x04\0\0\0abcd")
compression("zstd-skippable-cut", "a skippable frame that is cut", lambda t: zstd(t) + b"\x5f\x2a\x4d\x18\xff\xff\0\0abcd")
compression("zstd-no-size", "a frame that does not tell its size", lambda t: zstd(t, "--no-content-size"))
compression("zstd-level-19", "level 19", lambda t: zstd(t, "-19"))
compression("gzip-two-members", "two gzip members", lambda t: gzip.compress(t[:2000]) + gzip.compress(t[2000:]), GZIP)
compression("gzip-empty-member", "an empty gzip member behind", lambda t: gzip.compress(t) + gzip.compress(b""), GZIP)
compression("gzip-junk", "junk behind the gzip member", lambda t: gzip.compress(t) + b"junk", GZIP)
compression("gzip-zeros", "zeros behind the gzip member", lambda t: gzip.compress(t) + bytes(512), GZIP)
compression("gzip-bad-crc", "a wrong CRC", lambda t: (lambda z: z[:-8] + b"\0\0\0\0" + z[-4:])(gzip.compress(t)), GZIP)
compression("gzip-bad-length", "a wrong length at the end", lambda t: gzip.compress(t)[:-4] + b"\1\2\3\4", GZIP)
compression("gzip-cut", "a member that is cut", lambda t: gzip.compress(t)[:-20], GZIP)
compression("gzip-cut-trailer", "a member without half of its trailer", lambda t: gzip.compress(t)[:-4], GZIP)
compression("gzip-stored", "a member of stored blocks", lambda t: gzip.compress(t, 0), GZIP)
compression("gzip-fields", "a header with name, comment and extra field",
            lambda t: b"\x1f\x8b\x08\x1c\0\0\0\0\0\x03" + b"\x04\0ab\x00\x00" + b"name\0" + b"comment\0" + gzip.compress(t, mtime=0)[10:], GZIP)
compression("gzip-zlib", "a zlib stream", zlib.compress, GZIP)
compression("type-tar-bytes-zstd", "the media type says tar, the bytes are zstd", zstd, PLAIN)
compression("type-tar-bytes-gzip", "the media type says tar, the bytes are gzip", gzip.compress, PLAIN)
compression("type-gzip-bytes-tar", "the media type says gzip, the bytes are a tar", lambda t: t, GZIP)
compression("type-gzip-bytes-zstd", "the media type says gzip, the bytes are zstd", zstd, GZIP)
compression("type-zstd-bytes-gzip", "the media type says zstd, the bytes are gzip", gzip.compress, ZSTD)
compression("type-zstd-bytes-tar", "the media type says zstd, the bytes are a tar", lambda t: t, ZSTD)


def docker(name, title, kind, pack, expected=AS_CONTAINERD):
    @case("compression-docker-" + name, title, expected)
    def _():
        tar = layer(file(b"f", b"hello" * 1000))
        def edit(manifest, config):
            manifest["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"
            manifest["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs." + kind
        image = Image(tar, packed=[pack(tar)], edit=edit)
        image.type = "application/vnd.docker.distribution.manifest.v2+json"
        return play_image(image)


docker("gzip", "docker's media type of gzip layers", "diff.tar.gzip", gzip.compress)
docker("zstd", "docker's media type of zstd layers", "diff.tar.zstd", zstd)
docker("tar", "docker's media type of plain layers", "diff.tar", lambda t: t)
docker("gzip-bytes-zstd", "docker's media type of gzip layers, the bytes are zstd", "diff.tar.gzip", zstd)
docker("foreign", "docker's media type of foreign layers", "foreign.diff.tar.gzip", gzip.compress, "handed over")


@case("compression-empty-layers", "layers of no entries: docker's empty layer, an empty gzip member")
def _():
    empty = bytes.fromhex("1f8b08000000000000ff621805a360148c5800080000ffff2eafb5ef00040000")
    tar, end = layer(file(b"f", b"x")), bytes(1024)
    return play_image(Image(end, tar, end, tar, packed=[empty, gzip.compress(tar), empty, gzip.compress(tar)]))


@case("compression-layer-of-no-bytes", "a layer whose tar has no bytes at all", AS_CONTAINERD)
def _():
    return play_image(Image(layer(file(b"f", b"x")), b""))


def by_command(bits):
    """Nobody takes a pull by our command over: it must have the memory."""
    @case("compression-command-window-%d" % bits, "`pull --to` and `convert` of a zstd window of 2^%d bytes, more than a layer's memory" % bits, "ok")
    def _():
        tar = layer(file(b"f", b"hello" * 1000))
        image = Image(tar, kind=ZSTD, packed=[zstd(tar, "--ultra", "-19", "--long=%d" % bits)])
        ref = registry().add("case/window%d" % bits, "t", image)
        done, tree = pull_to(ref)
        _, failed = convert(ref)
        wrong = short(done.error) if done.code else "no f" if b"f" not in tree else failed and "convert: " + short(failed)
        return blame(Seen("wrong" if wrong else "ok", wrong or ""), [done.error] if done.code else [])


for bits in (28, 29):
    by_command(bits)
