"""Writes docs/compatibility.md: what the cases showed, under three lines of containerd."""
import json
import os

from lab import ROOT
from lib.play import OUTCOMES, VERSIONS

KEPT = os.environ.get("CASES_KEPT") or os.path.join(ROOT, ".tools", "cases.json")
PATH = os.path.join(ROOT, "docs", "compatibility.md")
HEAD = """# Compatibility with containerd

Every case of `integration/cases`, as it ended with the overlayfs snapshotter of containerd %s, and with us under containerd 2.4.
`integration/cases/run --table` wrote this; do not edit it.

Trees are compared entry by entry: type, mode, owner, size, content, time, extended attributes, device numbers, targets, hard
links. Only times of directories that no entry of a tar describes are left out: containerd's are those of its unpack.

A dash stands where a case is not about a pull through containerd alone: it is about our own commands, another client, or a
node of its own. What ours showed:

%s

**%d cases: %s.**
"""


def kept():
    """What the cases showed when they were played last, by name."""
    try:
        with open(KEPT) as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def keep(seen):
    found = {**kept(), seen["name"]: seen}
    with open(KEPT, "w") as f:
        json.dump(found, f)


def write(cases):
    """Writes the file; a case that was not as expected is told as such."""
    found, counts = {name: seen for name, seen in kept().items() if name in cases}, {}
    for seen in found.values():
        counts[seen["outcome"]] = counts.get(seen["outcome"], 0) + 1
    told = ", ".join("%d %s" % (counts[outcome], outcome) for outcome in OUTCOMES if outcome in counts)
    meanings = "\n".join("- *%s*: %s" % item for item in OUTCOMES.items() if item[0] in counts)
    text, group = HEAD % (", ".join(VERSIONS[:-1]) + " and " + VERSIONS[-1], meanings, len(found), told), None
    for name, case in cases.items():
        if name not in found:
            continue
        if name.split("-")[0] != group:
            group = name.split("-")[0]
            text += "\n## %s\n\n| case | what | %s | ours |\n|---|---|%s---|\n" % (group.capitalize(), " | ".join(VERSIONS), "---|" * len(VERSIONS))
        text += row(name, case, found[name])
    with open(PATH, "w") as f:
        f.write(text)


def row(name, case, seen):
    controls = [seen["controls"].get(version, "–") for version in VERSIONS]
    title = case.title.replace("|", "\\|").replace("<", "&lt;")
    return "| %s | %s | %s | %s |\n" % (name.split("-", 1)[1], title, " | ".join(controls), seen["outcome"])
