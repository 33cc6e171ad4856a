"""Whiteouts hide lower layers only, wherever they stand in their layer (OCI image specification, "Representing Changes").

containerd's unpack applies them in the tar's order, so that it refuses some orders and reads others differently.
"""
import itertools

from lib.image import Image
from lib.play import case, play_image
from lib.rawtar import device, directory, file, hardlink, layer, opaque, pax, symlink, whiteout

# Which of the two is right: that containerd refuses, or has another tree, is its own affair.
RIGHT = ("same", "ours")
A, OLD, NEW = directory(b"a/"), file(b"a/old", b"again"), file(b"a/new", b"new")
LOWER = (directory(b"a/"), file(b"a/old", b"old"))
OPAQUE = opaque(b"a")


def names(tree):
    return {name for name in tree if name not in (b".", b".case-marker")}


def only(*expected, content=()):
    """The tree has these names and no others, and files these lengths."""
    def wrong(tree):
        ghosts = [name for name in names(tree) if "listed" in str(tree[name]["type"])]
        if ghosts:
            return "listed, but not to be found: %s" % ghosts
        if names(tree) != set(expected):
            return "missing %s, too many %s" % (sorted(set(expected) - names(tree)), sorted(names(tree) - set(expected)))
        lengths = {name: tree[name].get("size") for name, size in content if tree[name].get("size") != size}
        return "lengths: %s" % lengths if lengths else ""
    return wrong


def whiteouts(name, title, upper, expected, lower=LOWER, content=()):
    @case("whiteouts-" + name, title, RIGHT)
    def _():
        return play_image(Image(layer(*lower), layer(*upper)), want=only(*expected, content=content))


whiteouts("directory-made-anew", ".wh.a, a/", [whiteout(b"a"), A], [b"a"])
whiteouts("directory-then-whiteout", "a/, .wh.a", [A, whiteout(b"a")], [b"a"])
whiteouts("implied-directory", ".wh.a, a/new, and no a/", [whiteout(b"a"), NEW], [b"a", b"a/new"])
whiteouts("implied-directory-first", "a/new, .wh.a, and no a/", [NEW, whiteout(b"a")], [b"a", b"a/new"])
whiteouts("opaque-last", "a/, a/new, opaque", [A, NEW, OPAQUE], [b"a", b"a/new"])
whiteouts("opaque-first", "opaque, a/, a/new", [OPAQUE, A, NEW], [b"a", b"a/new"])
whiteouts("opaque-alone", "opaque, and no a/", [OPAQUE], [b"a"])
whiteouts("opaque-twice", "a/, opaque, a/new, opaque", [A, OPAQUE, NEW, OPAQUE], [b"a", b"a/new"])
whiteouts("file-again", "a/, a/.wh.old, a/old", [A, whiteout(b"a/old"), OLD], [b"a", b"a/old"], content=[(b"a/old", 5)])
whiteouts("file-then-whiteout", "a/, a/old, a/.wh.old", [A, OLD, whiteout(b"a/old")], [b"a", b"a/old"], content=[(b"a/old", 5)])
whiteouts("opaque-and-whiteout", "a/, opaque, .wh.a, a/new", [A, OPAQUE, whiteout(b"a"), NEW], [b"a", b"a/new"])
whiteouts("twice-then-directory", ".wh.a twice, then a/", [whiteout(b"a"), whiteout(b"a"), A], [b"a"])
whiteouts("twice", ".wh.x twice", [whiteout(b"x"), whiteout(b"x")], [b"y"], [file(b"x", b"x"), file(b"y", b"y")])
whiteouts("as-device", "a whiteout written as character device 0:0", [device(b"a", 0, 0)], [])
whiteouts("by-file", ".wh.a, then a file a", [whiteout(b"a"), file(b"a", b"f")], [b"a"])
whiteouts("by-file-first", "a file a, then .wh.a", [file(b"a", b"f"), whiteout(b"a")], [b"a"])
whiteouts("by-symlink", ".wh.a, then a symlink a", [whiteout(b"a"), symlink(b"a", b"/etc")], [b"a"])
whiteouts("by-symlink-first", "a symlink a, then .wh.a", [symlink(b"a", b"/etc"), whiteout(b"a")], [b"a"])
whiteouts("by-link", "a file, a hard link a to it, then .wh.a", [file(b"f", b"f"), hardlink(b"a", b"f"), whiteout(b"a")], [b"a", b"f"])
whiteouts("of-link-target", "a file, a hard link to it, then the file's whiteout",
          [file(b"f", b"f"), hardlink(b"g", b"f"), whiteout(b"f")], [b"a", b"a/old", b"f", b"g"])
whiteouts("in-new-directory", "a new directory with a whiteout of nothing", [directory(b"n/"), whiteout(b"n/x")], [b"a", b"a/old", b"n"])
whiteouts("in-implied-new-directory", "a whiteout of nothing in a directory that nobody has", [whiteout(b"n/x")], [b"a", b"a/old", b"n"])
whiteouts("deep-in-new-directories", "a whiteout three new directories deep", [directory(b"n/"), directory(b"n/m/"), whiteout(b"n/m/o/x")],
          [b"a", b"a/old", b"n", b"n/m", b"n/m/o"])
whiteouts("opaque-in-new-directory", "a new opaque directory", [directory(b"n/"), opaque(b"n"), file(b"n/f", b"f")], [b"a", b"a/old", b"n", b"n/f"])
whiteouts("inside-directory-made-anew", "a/, a/.wh.old, .wh.a", [A, whiteout(b"a/old"), whiteout(b"a")], [b"a"])
whiteouts("inside-opaque", "a/, opaque, a/.wh.old", [A, OPAQUE, whiteout(b"a/old")], [b"a"])
whiteouts("in-directory-over-file", "a/ over a lower file, with a whiteout in it", [A, whiteout(b"a/x")], [b"a"], [file(b"a", b"f")])
whiteouts("in-directory-over-symlink", "a/ over a lower symlink, with a whiteout in it", [A, whiteout(b"a/x")], [b"a", b"d", b"d/x"],
          [directory(b"d/"), file(b"d/x", b"x"), symlink(b"a", b"d")])
whiteouts("of-nothing", "a whiteout of what is not there", [whiteout(b"zz")], [b"a", b"a/old"])
whiteouts("of-nothing-in-directory", "a whiteout in a/ of what is not there", [whiteout(b"a/zz")], [b"a", b"a/old"])
whiteouts("root-opaque", "the root is opaque", [opaque(b""), file(b"n", b"n")], [b"n"])
whiteouts("root-opaque-last", "a file, then the root is opaque", [file(b"n", b"n"), opaque(b"")], [b"n"])
whiteouts("root-opaque-dot", "the root is opaque, written ./.wh..wh..opq", [directory(b"./"), file(b"./.wh..wh..opq"), file(b"./n", b"n")], [b"n"])
whiteouts("with-content", "a whiteout that has a payload", [file(b".wh.a", b"payload"), file(b"n", b"n")], [b"n"])
whiteouts("as-directory", "a whiteout that is a directory", [directory(b".wh.a/"), file(b"n", b"n")], [b"n"])
whiteouts("as-symlink", "a whiteout that is a symlink", [symlink(b".wh.a", b"zz"), file(b"n", b"n")], [b"n"])
LONG = b"n" * 251  # with `.wh.` before it the longest name that Linux takes
whiteouts("long-name", "a whiteout of a name of 251 bytes", [pax({b"path": b".wh." + LONG}), file(b"w")], [b"a", b"a/old"],
          [*LOWER, pax({b"path": LONG}), file(b"x", b"x")])


@case("whiteouts-kaniko", "whiteouts below a directory that a lower layer removed, before their parents", RIGHT)
def _():
    return play_image(Image(layer(file(b"root/a/f", b"a")), layer(whiteout(b"root/a")),
                            layer(whiteout(b"root/a/b/f"), directory(b"root/"), directory(b"root/a/"), directory(b"root/a/b/"), file(b"root/a/g", b"b"))),
                      want=only(b"root", b"root/a", b"root/a/b", b"root/a/g"))


@case("whiteouts-two-above-each-other", "removed, made anew, and removed again in three layers", RIGHT)
def _():
    return play_image(Image(layer(*LOWER), layer(whiteout(b"a")), layer(A, NEW), layer(whiteout(b"a/new"))), want=only(b"a"))


@case("whiteouts-in-the-lowest-layer", "whiteouts in the lowest layer leave nothing", ("same", "ours"))
def _():
    return play_image(Image(layer(A, whiteout(b"a/x"), whiteout(b"y"), OPAQUE, NEW)), want=only(b"a", b"a/new"))


@case("whiteouts-of-aufs", "AUFS' own files (.wh..wh.plnk, .wh..wh.aufs) leave nothing", ("same", "ours"))
def _():
    parts = [directory(b".wh..wh.plnk/"), file(b".wh..wh.plnk/1.2", b"x"), file(b".wh..wh.aufs", b"x"), file(b"n", b"n")]
    return play_image(Image(layer(*LOWER), layer(*parts)), want=only(b"a", b"a/old", b"n"))


# ---------------------------------------------------------------- all orders

PARTS = {"directory": lambda d: directory(d + b"/a/"), "new": lambda d: file(d + b"/a/new", b"n"), "removed": lambda d: whiteout(d + b"/a"),
         "old removed": lambda d: whiteout(d + b"/a/old"), "opaque": lambda d: opaque(d + b"/a")}


def orders():
    """Every order of every choice that says what becomes of `a`."""
    for count in range(1, len(PARTS) + 1):
        for chosen in itertools.permutations(PARTS, count):
            if "removed" not in chosen or "directory" in chosen or "new" in chosen or count == 1:
                yield chosen


def expected_of(chosen):
    """What the specification says of one order: names below its directory."""
    there = {b"a"} if chosen != ("removed",) else set()
    if "new" in chosen:
        there.add(b"a/new")
    if not {"removed", "old removed", "opaque"} & set(chosen):
        there.add(b"a/old")
    return there


@case("whiteouts-all-orders", "a directory, a new file, three kinds of whiteouts: every order of every choice", RIGHT)
def _():
    chosen = {b"o%03d" % number: order for number, order in enumerate(orders())}
    lower = [part for d in chosen for part in (directory(d + b"/"), directory(d + b"/a/"), file(d + b"/a/old", b"old"))]
    upper = [PARTS[word](d) for d, order in chosen.items() for word in order]
    def wrong(tree):
        bad = []
        for d, order in chosen.items():
            got = {name[len(d) + 1:] for name in tree if name.startswith(d + b"/")}
            if got != expected_of(order) or any("listed" in str(tree[d + b"/" + name]["type"]) for name in got):
                bad.append("%s: %s" % (", ".join(order), sorted(got)))
        return "%d of %d orders, first: %s" % (len(bad), len(chosen), bad[:2]) if bad else ""
    return play_image(Image(layer(*lower), layer(*upper)), want=wrong)
