"""An ordinary image through everything: what the other cases compare with must itself work."""
from lib.image import GZIP, PLAIN, ZSTD, Image
from lib.play import case, play_image
from lib.rawtar import directory, file, hardlink, layer, symlink, tar

BASE = (directory(b"a/"), file(b"a/old", b"hello"), symlink(b"l", b"a/old"), hardlink(b"h", b"a/old"))
NEXT = (directory(b"a/"), file(b"a/new", b"x"))


def plain(name, kind):
    @case("plain-" + name, "an ordinary image of two layers, " + name)
    def _():
        return play_image(Image(layer(*BASE), layer(*NEXT), kind=kind))


for name, kind in (("gzip", GZIP), ("zstd", ZSTD), ("tar", PLAIN)):
    plain(name, kind)


@case("plain-without-layers-of-its-own", "an image whose upper layers are empty tars")
def _():
    return play_image(Image(layer(*BASE), tar(), tar()))


@case("plain-same-layer-twice", "a layer twice in a row, and again above another one")
def _():
    base, above = layer(*BASE), layer(*NEXT)
    return play_image(Image(base, base, above, base))


@case("plain-thirty-layers", "thirty layers")
def _():
    return play_image(Image(*(layer(file(b"f", b"%d" % n), file(b"f%d" % n, b"x")) for n in range(30))), converted=False)
