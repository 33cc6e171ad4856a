"""Digests of other algorithms: what is needed must be sha256, what stands beside it need not."""
import gzip

from lib.image import MANIFEST, Image, index_of, sha
from lib.play import case
from lib.rawtar import file, layer

from .commands import play, seen
from .platforms import ARM, RIGHT, two

# We may hand over what is not sha256; the commands, which cannot, may refuse it.
TAKEN_OR_REFUSED = ("same", "refused")


@case("digests-sha512", "sha512 for config, layer and manifest", TAKEN_OR_REFUSED)
def _():
    return seen(play([Image(layer(file(b"f", b"x")), algorithm="sha512")]))


@case("digests-sha512-layer", "sha512 for the layer only")
def _():
    tar = layer(file(b"f", b"x"))
    blob = gzip.compress(tar, mtime=0)
    image = Image(tar, packed=[blob], edit=lambda manifest, config: manifest["layers"][0].update(digest=sha(blob, "sha512")))
    image.blobs[sha(blob, "sha512")] = blob
    image.layers = [sha(blob, "sha512")]
    # Our commands say that they take sha256 only; containerd, which we leave the pull to, takes it.
    return seen(play([image]), allowed=("pull", "inspect", "diff", "convert a layout", "convert in a registry"))


@case("digests-sha512-diff-id", "sha512 for the DiffID only", TAKEN_OR_REFUSED)
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
