"""What each client can do on each containerd, as the checks of `life` saw it: the tables between the marks in docs/matrix.md."""
import difflib
import os
import time

from lab import ROOT, Failure

PATH = os.path.join(ROOT, "docs", "matrix.md")
BEGIN, END = "<!-- written by integration/suite/matrix: begin -->\n", "<!-- written by integration/suite/matrix: end -->\n"
YES = "yes"


class Matrix:
    """Cells by client, operation and version of containerd."""

    def __init__(self):
        self.cells, self.versions = {}, {}

    def row(self, version, client):
        """A function that plays one operation of a client after the other, and remembers how each ended; and one that fails if one
        of them did."""
        failures = []

        def cell(operation, play):
            """`play` gives None if it worked, a text if it worked in part or cannot be, and raises if it ought to have worked."""
            began = time.monotonic()
            try:
                found = play() or YES
            except Exception as error:
                failures.append("%s: %s" % (operation, error))
                found = "**failed**"
            self.cells.setdefault(client, {}).setdefault(operation, {})[version] = found
            print("    %-9s %-46s %4.1f s  %s" % (client, operation, time.monotonic() - began, found), flush=True)

        def end():
            if failures:
                raise Failure("%s on containerd %s:\n%s" % (client, version, "\n".join(failures)))
        return cell, end

    def text(self):
        versions = sorted(self.versions)
        text = ""
        for client, operations in self.cells.items():
            text += "\n### %s\n\n| | %s |\n|---|%s\n" % (
                client, " | ".join("containerd " + self.versions[v] for v in versions), "---|" * len(versions))
            for operation, cells in operations.items():
                text += "| %s | %s |\n" % (operation, " | ".join(cells[v] for v in versions))
        return text + "\n"

    def compare(self):
        """Holds the document to what was seen; with MATRIX=write, writes it."""
        with open(PATH) as f:
            document = f.read()
        before, rest = document.split(BEGIN)
        written, after = rest.split(END)
        seen = self.text()
        if "**failed**" in seen:
            raise Failure("not everything worked")
        if os.environ.get("MATRIX") == "write":
            with open(PATH, "w") as f:
                f.write(before + BEGIN + seen + END + after)
        elif written != seen:
            lines = difflib.unified_diff(written.splitlines(), seen.splitlines(), "docs/matrix.md", "seen", lineterm="", n=0)
            raise Failure("run integration/suite/matrix, and look at what changed:\n" + "\n".join(lines))
