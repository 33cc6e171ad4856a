"""What is wrong with the text of an error: a cause said twice, or a value as only its programmer would print it."""
import re

# Rust's `{:?}` of an enum, of an error or of a structure.
DEBUG = re.compile(r"\b(?:Some|Ok|Err|Os|Custom|Kind)[({]|\bkind: [A-Z]\w+|\b[A-Z]\w+ \{ \w+: |\bPermissionDenied\b|\bNotFound\b,")
# Shorter parts may well come twice: "layer", "at byte 0".
SHORT = 16


def faults(text):
    """Lines that say what is wrong with the text; none if nothing is."""
    found = []
    debug = DEBUG.search(text)
    if debug:
        found.append("a value is shown as a programmer prints it: %r" % debug[0])
    parts = [part.strip(' ".') for part in re.split(r": |; |, |\\n|\n", text)]
    for part in sorted({part for part in parts if len(part) >= SHORT and parts.count(part) > 1}):
        found.append("said twice: %r" % part)
    return found


def last(text):
    """The line of a command's output that says why it failed."""
    lines = [line for line in text.splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("chunked-snapshotter: ")]
    return (named or lines or [""])[-1]
