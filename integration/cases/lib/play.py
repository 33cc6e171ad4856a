"""Plays an image beside containerd's overlayfs, and tells what was seen.

A case is a function that gives a `Seen`. Its outcome is one word of OUTCOMES; `case` names the one that is right.
"""
import os
import shutil

import lab
import trees

from . import machine, texts
from .node import CONTROL, OURS, Node, differences, few, short
from .registry import Registry

OUTCOMES = {
    "same": "we pull it; the tree is that of containerd's overlayfs",
    "handed over": "containerd pulls it into our snapshots; the tree is that of its overlayfs",
    "refused": "neither we nor containerd pull it",
    "ours": "we pull it and the tree is right; containerd's overlayfs refuses it, or has another tree",
    "ok": "the command does what it should",
    "wrong": "anything else",
}
VERSIONS = ("1.6", "1.7", "2.4")
CASES = {}
_shared = {}


class Seen:
    """What a case showed: its outcome, more about it, and for the table how each containerd's overlayfs ended."""

    def __init__(self, outcome, text="", controls=None):
        self.outcome, self.text, self.controls = outcome, text, controls or {}


class Case:
    def __init__(self, title, function, expected):
        self.title, self.function, self.expected = title, function, expected


def case(name, title, expected="same"):
    """Registers a case. `expected`: an outcome, or several of which each is right."""
    def register(function):
        if name in CASES:
            raise ValueError("two cases are named " + name)
        CASES[name] = Case(title, function, (expected,) if isinstance(expected, str) else expected)
        return function
    return register


# ---------------------------------------------------------------- what cases share

def node(version="2.4"):
    """The node that cases share; started by the first."""
    return shared("node " + version, lambda: Node(version))


def registry():
    return shared("registry", Registry)


def shared(key, make):
    if key not in _shared:
        _shared[key] = make()
    return _shared[key]


# ---------------------------------------------------------------- the command line

class Done:
    """How our command ended, and the line that says why."""

    def __init__(self, code, out, error):
        self.code, self.out, self.error = code, out, texts.last(error)


def command(*arguments, env=None, wrap=()):
    """Runs our program; `wrap` are words before it."""
    done = lab.run(*wrap, lab.BINARY, *arguments, env=env, check=False, timeout=60)
    return Done(done.returncode, done.stdout, done.stderr)


def config(text=""):
    """A configuration file for commands; files of the host serve nobody here."""
    path = os.path.join(machine.scratch("config"), "chunked.toml")
    with open(path, "w") as f:
        f.write('[host]\npolicy = "off"\n' + text)
    return path


def common(settings=None):
    return ("--log-level", "error", "--config", settings or shared("config", config))


def pull_to(ref, settings=None, more=(), env=None):
    """`pull REF --to DIR` with a store of its own: how it ended, and the tree or None."""
    where = machine.scratch("pull")
    done = command("pull", ref, "--root", where + "/store", "--to", where + "/tree", *common(settings), *more, env=env)
    if done.code == 0 and not os.path.isdir(where + "/tree"):
        done = Done(99, done.out, "the pull says that it went well, but made no directory")
    tree = trees.walk(where + "/tree") if done.code == 0 else None
    shutil.rmtree(where, ignore_errors=True)
    return done, tree


def convert(ref):
    """Converts into the same registry: the name of what came, and what went wrong or None."""
    name = ref.rsplit(":", 1)[0] + "-converted:t"
    done = command("convert", "docker://" + ref, "docker://" + name, *common())
    return name, done.error if done.code else None


# ---------------------------------------------------------------- playing

def compare(ref, image, at=None, want=None, told=(), tree=True, **how):
    """Pulls with ours and with overlayfs. `want(tree)` says what is wrong with a tree, and overrules overlayfs.

    `how` are options of Node.pull. `told` are further texts for the user, judged with the pull's own.
    """
    at = at or node()
    mark = at.mark()
    ours = at.pull(ref, **how)
    ours.handed_over = bool(ours and image.layers and at.holds(image.layers[0]))
    control = at.pull(ref, CONTROL, **how)
    controls = {at.version: control} | {version: node(version).pull(ref, CONTROL, **how) for version in more_versions(at)}
    said = [*told, *at.warnings(mark), *([] if ours else [ours.text])]
    mine, its = (tree_of(at, ref, which, pulled and tree) for which, pulled in ((OURS, ours), (CONTROL, control)))
    if isinstance(mine, lab.Failure) or isinstance(its, lab.Failure):
        # containerd took something for the image that is none, and says that the pull went well.
        both = isinstance(mine, lab.Failure) and isinstance(its, lab.Failure)
        return Seen("same" if both else "wrong", "it cannot be mounted: ours: %s | overlayfs: %s" % tuple(
            short(str(tree)) if isinstance(tree, lab.Failure) else "it can" for tree in (mine, its))), None, None
    seen = judge(ours, control, mine, its, want)
    seen.controls = {version: "pulls" if pulled else "refuses" for version, pulled in controls.items()}
    if ours.handed_over:
        seen.text += " [%s]" % short("; ".join(at.warnings(mark)) or "no warning says why", 300)
    return blame(seen, said), mine, its


def tree_of(at, ref, which, wanted):
    """The image's tree, None if it is not wanted, or why it cannot be mounted."""
    try:
        return at.tree(ref, which) if wanted else None
    except lab.Failure as failure:
        return failure


def more_versions(at):
    """Other containerds, if a table is made."""
    return [v for v in VERSIONS if v != at.version] if os.environ.get("CASES_TABLE") and at is node() else []


def blame(seen, said):
    """A wrong text makes the whole case wrong."""
    wrong = [fault for text in said for fault in texts.faults(text)]
    if not wrong:
        return seen
    text = "the text is wrong: %s, in: %s" % (few(wrong), short(" | ".join(text for text in said if texts.faults(text)), 900))
    return Seen("wrong", (seen.text if seen.outcome == "wrong" else seen.outcome) + "; " + text, seen.controls)


def judge(ours, control, mine, its, want=None):
    """The outcome of two pulls and their trees."""
    if not ours and not control:
        return Seen("refused", "ours: %s | overlayfs: %s" % (short(ours.text), short(control.text)))
    if not ours:
        return Seen("wrong", "the pull fails: %s | overlayfs pulls it" % short(ours.text, 700))
    wrong = want(mine) if want else ""
    if wrong:
        return Seen("wrong", "the tree is wrong: %s | overlayfs: %s" % (wrong, want(its) or "right" if control else short(control.text)))
    if not control:
        return Seen("ours", "overlayfs: " + short(control.text))
    if want and want(its):
        return Seen("ours", "overlayfs: " + want(its))
    lines = differences(mine, its) if mine is not None and its is not None else []
    if lines:
        return Seen("wrong", "the tree (first) is not overlayfs' (second): " + few(lines))
    return Seen("handed over" if ours.handed_over else "same", "%d entries" % len(mine) if mine is not None else "")


def play_image(image, want=None, converted=True):
    """Everything about an image of odd layers: containerd, `pull --to`, and the same after `convert`."""
    ref = registry().add("case/i%d" % len(registry().manifests), "t", image)
    seen, mine, its = compare(ref, image, want=want)
    if seen.outcome == "wrong" or seen.outcome == "handed over":
        return seen
    done, tree = pull_to(ref)
    seen = blame(seen, [done.error] if done.code else [])
    if seen.outcome == "refused" and done.code == 0:
        return Seen("wrong", "`pull --to` pulls what containerd refuses", seen.controls)
    if seen.outcome in ("refused", "wrong"):
        return seen
    right = mine if seen.outcome == "ours" else its
    if done.code:
        return Seen("wrong", "`pull --to` fails: " + short(done.error), seen.controls)
    lines = differences(tree, right)
    if lines:
        return Seen("wrong", "`pull --to` (first) made another tree: " + few(lines), seen.controls)
    wrong = converted_wrong(ref, right) if converted else None
    return Seen("wrong", wrong, seen.controls) if wrong else seen


def converted_wrong(ref, right):
    """What is wrong with the image after `convert`, or None."""
    name, failed = convert(ref)
    if failed:
        return "convert fails: " + short(failed)
    done, tree = pull_to(name)
    if done.code:
        return "the converted image cannot be pulled: " + short(done.error)
    lines = differences(tree, right)
    if lines:
        return "the converted image (first) has another tree: " + few(lines)
    verified = command("inspect", "--verify", name, *common())
    return "inspect --verify of the converted image: " + short(verified.error) if verified.code else None
