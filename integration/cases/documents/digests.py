"""Digests of other algorithms: what is needed must be sha256 or sha512, its DiffIDs sha256; what stands beside it need not."""
from lib.image import GZIP, MANIFEST, PLAIN, ZSTD, Image, index_of, pack, sha
from lib.play import case
from lib.rawtar import file, layer

from .commands import play, seen
from .platforms import ARM, RIGHT, two


@case("digests-sha512", "sha512 for config, layer and manifest")
def _():
    return seen(play([Image(layer(file(b"f", b"x")), algorithm="sha512")]))


@case("digests-sha512-by-digest", "sha512 for config, layer and manifest, asked for by the digest")
def _():
    return seen(play([Image(layer(file(b"f", b"x")), algorithm="sha512")], by_digest=True))


@case("digests-sha512-in-an-index", "an index by sha256 that names an image by sha512")
def _():
    image = Image(layer(file(b"f", b"x")), algorithm="sha512")
    return seen(play([image], index_of(image.descriptor())))


def layers_by_sha512(name, title, kind, which=(0, 1), expected="same"):
    @case("digests-sha512-" + name, title, expected)
    def _():
        tars = layer(file(b"f", b"x")), layer(file(b"g", b"y" * 300000))
        blobs = [pack(tar, kind) for tar in tars]
        def edit(manifest, config):
            for at in which:
                manifest["layers"][at]["digest"] = sha(blobs[at], "sha512")
        image = Image(*tars, kind=kind, packed=blobs, edit=edit)
        image.blobs.update({sha(blob, "sha512"): blob for blob in blobs})
        image.layers = [sha(blob, "sha512" if at in which else "sha256") for at, blob in enumerate(blobs)]
        return seen(play([image]))


layers_by_sha512("layer", "sha512 for the layers only", GZIP)
layers_by_sha512("layer-zstd", "sha512 for the layers only, which are zstd", ZSTD)
layers_by_sha512("layer-tar", "sha512 for the layers only, which are plain tars", PLAIN)
layers_by_sha512("upper-layer", "sha512 for the upper layer only", GZIP, (1,))
layers_by_sha512("lower-layer", "sha512 for the lower layer only", GZIP, (0,))


@case("digests-sha512-wrong", "sha512 for the layer, whose bytes are another layer's", "refused")
def _():
    tar, other = layer(file(b"f", b"x")), pack(layer(file(b"f", b"y")), GZIP)
    named = sha(pack(tar, GZIP), "sha512")
    image = Image(tar, edit=lambda manifest, config: manifest["layers"][0].update(digest=named, size=len(other)))
    image.blobs[named] = other
    image.layers = [named]
    return seen(play([image]))


@case("digests-sha512-diff-id", "sha512 for the DiffID only", "refused")
def _():
    tar = layer(file(b"f", b"x"))
    return seen(play([Image(tar, edit=lambda manifest, config: config["rootfs"].update(diff_ids=[sha(tar, "sha512")]))]))


@case("digests-sha512-other-platform", "an index: this platform's image by sha256, the other by sha512")
def _():
    mine, _ = two()
    other = Image(layer(file(b"arm64", b"b")), architecture="arm64", algorithm="sha512")
    return seen(play([mine, other], index_of(other.descriptor(architecture="arm64"), mine.descriptor()), "linux/amd64", RIGHT))


def beside(name, title, digest, platform=ARM):
    @case("digests-beside-" + name, title, ("same", "ours", "refused"))
    def _():
        mine, _ = two()
        entry = {"mediaType": MANIFEST, "digest": digest, "size": 3, "platform": platform}
        return seen(play([mine], index_of(entry, mine.descriptor()), "linux/amd64", RIGHT))


beside("blake3", "an entry of another platform by blake3", "blake3:" + "a" * 64)
beside("sha384", "an entry of another platform by sha384", "sha384:" + "a" * 96)
beside("capitals", "an entry of another platform with capital letters in its digest", "sha256:" + "A" * 64)
beside("short", "an entry of another platform whose digest is too short", "sha256:abc")
beside("no-digest", "an entry of another platform whose digest is a text", "hello")
beside("empty", "an entry of another platform without a digest", "")
beside("unknown-platform", "an attestation by sha512", "sha512:" + "a" * 128, {"architecture": "unknown", "os": "unknown"})
