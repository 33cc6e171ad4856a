"""Hard links: their targets, what replaces what, and capabilities that a link must not lose."""
import struct

from lib.image import Image
from lib.play import case, play_image
from lib.rawtar import device, directory, file, hardlink, layer, pax, symlink, whiteout

AS_CONTAINERD = ("same", "refused")


def links(name, title, *layers, expected=AS_CONTAINERD, want=None):
    @case("links-" + name, title, expected)
    def _():
        return play_image(Image(*(layer(*parts) for parts in layers)), want=want)


F = file(b"f", b"f")
links("to-lower-layer", "a target that only a lower layer has", [F], [hardlink(b"g", b"f")])
links("to-lower-layer-copied-up", "a target that the lower layer has and this one, too", [F], [F, hardlink(b"g", b"f")])
links("before-target", "a link before its target", [hardlink(b"g", b"f"), F])
links("absolute", "a target that begins with a slash", [F, hardlink(b"d/g", b"/f")])
links("dotted", "a target that begins with ./", [F, hardlink(b"g", b"./f")])
links("climbing", "a target with .. in it", [directory(b"d/"), F, hardlink(b"d/g", b"d/../f")])
links("climbing-out", "a target that climbs out of the root", [F, hardlink(b"g", b"../../f")])
links("to-itself", "a link to itself", [F, hardlink(b"f", b"f")])
links("to-itself-spelled-otherwise", "a link to itself, spelled ./f", [F, hardlink(b"f", b"./f")])
links("to-directory", "a link to a directory", [directory(b"d/"), hardlink(b"t", b"d")])
links("to-symlink", "a link to a symlink", [F, symlink(b"s", b"f"), hardlink(b"g", b"s")])
links("to-dangling-symlink", "a link to a symlink that leads nowhere", [symlink(b"s", b"zz"), hardlink(b"g", b"s")])
links("to-device", "a link to a device", [device(b"n", 1, 3), hardlink(b"g", b"n")])
links("to-link", "a link to a link", [F, hardlink(b"g", b"f"), hardlink(b"h", b"g")])
links("target-replaced", "the target is replaced after the link", [file(b"f", b"1"), hardlink(b"g", b"f"), file(b"f", b"2")])
links("link-replaced", "the link is replaced by a file", [F, hardlink(b"g", b"f"), file(b"g", b"other")])
links("target-removed", "the lowest layer: a link, then a whiteout of its target", [file(b"f", b"1"), hardlink(b"g", b"f"), whiteout(b"f")],
      expected=("same", "ours"))
links("over-file", "a link where a file was", [file(b"g", b"old"), F, hardlink(b"g", b"f")])
links("over-directory", "a link where a directory was", [directory(b"g/"), F, hardlink(b"g", b"f")])
links("through-symlink", "a target behind a symlinked directory", [directory(b"d/"), file(b"d/f", b"f"), symlink(b"e", b"d"), hardlink(b"g", b"e/f")])
links("name-through-symlink", "a name behind a symlinked directory", [directory(b"d/"), F, symlink(b"e", b"d"), hardlink(b"e/g", b"f")])
links("with-mode", "a link entry with another mode and owner", [F, hardlink(b"g", b"f", mode=0o755, uid=7, gid=8)])
links("with-setuid", "a link entry with 04755", [file(b"f", b"f", mode=0o755), hardlink(b"g", b"f", mode=0o4755)])
links("with-time", "a link entry with another time", [F, hardlink(b"g", b"f", mtime=1600000000)])
links("with-size", "a link entry that has a size", [F, hardlink(b"g", b"f", size=1), file(b"h", b"h")])
links("with-attribute", "a link entry with an attribute", [F, pax({b"SCHILY.xattr.user.a": b"1"}), hardlink(b"g", b"f")])
links("empty-target", "a link without a target", [hardlink(b"s", b"")])
links("whiteout-target", "a link to a whiteout's name", [F, whiteout(b"x"), hardlink(b"g", b".wh.x")])

# VFS_CAP_REVISION_2 with cap_net_raw, permitted and effective.
CAPABILITY = {b"SCHILY.xattr.security.capability": struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)}


def capable(tree):
    bare = [name for name in tree if name.startswith(b"bin/") and "security.capability" not in tree[name]["xattrs"]]
    return "without their capability: %s" % bare if bare else ""


def capability(name, title, *parts):
    links("capability-" + name, title, [*parts], expected=("same", "ours"), want=capable)


PING = file(b"bin/ping", b"p", mode=0o755)
PING6 = hardlink(b"bin/ping6", b"bin/ping", mode=0o755)
capability("on-target", "a capability on the file, a link entry without", pax(CAPABILITY), PING, PING6)
capability("on-both", "a capability on both entries", pax(CAPABILITY), PING, pax(CAPABILITY), PING6)
capability("on-link", "a capability on the link entry only", PING, pax(CAPABILITY), PING6)
capability("with-owner", "a capability on a file of uid 1000", pax(CAPABILITY), file(b"bin/ping", b"p", mode=0o755, uid=1000, gid=1000))
capability("link-with-owner", "a link entry of another owner without it", pax(CAPABILITY), PING, hardlink(b"bin/ping6", b"bin/ping", mode=0o755, uid=5))
capability("two-links", "two link entries without", pax(CAPABILITY), PING, PING6, hardlink(b"bin/ping4", b"bin/ping6", mode=0o755))
capability("link-with-attribute", "a link entry with another attribute", pax(CAPABILITY), PING, pax({b"SCHILY.xattr.user.a": b"1"}), PING6)
