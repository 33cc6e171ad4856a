"""A program on a pseudo-terminal, and what a person sees of it."""
import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Screen:
    """As much of a terminal as line-oriented programs use. Other sequences are an error."""

    def __init__(self, columns, rows):
        self.columns, self.height = columns, rows
        self.lines, self.row, self.column, self.rest, self.styled = [""], 0, 0, "", False

    def feed(self, text):
        text = self.rest + text
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = SEQUENCE.match(text, at)
                if not found:
                    if len(text) - at > 16:
                        raise ValueError("an unknown sequence: %r" % text[at:at + 16])
                    break
                self.control(found[2], found[1])
                at = found.end()
                continue
            self.character(text[at])
            at += 1
        self.rest = text[at:]

    def control(self, kind, argument):
        count = int(argument) if argument.isdigit() else 1
        if kind == "A":
            self.move(max(self.row - count, len(self.lines) - self.height, 0))
        elif kind == "B":
            self.move(self.row + count)
        elif kind == "K":  # whole line, or from the cursor on
            line = self.lines[self.row]
            self.lines[self.row] = "" if argument == "2" else line[:self.column] if argument in ("", "0") else line
        elif kind == "m":
            self.styled = True
        elif kind not in "hl":
            raise ValueError("an unknown sequence: %r" % (argument + kind))

    def character(self, c):
        if c == "\r":
            self.column = 0
        elif c == "\n":
            self.move(self.row + 1)
        else:
            if self.column == self.columns:  # the cursor waits behind the last column
                self.move(self.row + 1)
                self.column = 0
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[:self.column] + c + line[self.column + 1:]
            self.column += 1

    def move(self, row):
        self.row = row
        self.lines += [""] * (row + 1 - len(self.lines))

    def text(self):
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")


def run(command, env=None, columns=80, rows=24, timeout=120, sees=None):
    """Runs a command with all its output on one terminal: exit code and the Screen at its end.

    `sees(text)` is called with what is on the screen whenever the program has drawn something and rests.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", **(env or {})})
    os.close(theirs)
    screen, decoder, until = Screen(columns, rows), codecs.getincrementaldecoder("utf-8")(), time.monotonic() + timeout
    try:
        while time.monotonic() < until:
            if not select.select([ours], [], [], 0.02)[0]:
                if sees:
                    sees(screen.text())
                continue
            try:
                data = os.read(ours, 65536)
            except OSError:  # the last one has closed it
                return child.wait(10), screen
            screen.feed(decoder.decode(data))
        raise TimeoutError("%s still runs:\n%s" % (" ".join(command), screen.text()))
    finally:
        os.close(ours)
        child.kill()
        child.wait()
