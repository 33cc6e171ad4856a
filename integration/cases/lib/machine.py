"""A machine of the cases' own: mount and network namespaces, a journalled file system, private /etc/docker and /etc/containerd.

Nothing of it stays. Two of them side by side do not disturb each other.
"""
import itertools
import os
import subprocess
import sys

from lab import Lab, run

from .tls import LAN

_lab = None
_number = itertools.count(1)


def enter(*arguments):
    """Starts this program again with these arguments, in namespaces of its own; gives the process."""
    command = ["unshare", "-m", "-n", "--propagation", "private", sys.executable, sys.argv[0], *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def prepare():
    """Sets up the namespaces that `enter` made; gives the lab, which cleans up when the program ends."""
    global _lab
    run("ip", "link", "set", "lo", "up")
    run("ip", "addr", "add", LAN + "/24", "dev", "lo")
    for path in ("/etc/docker", "/etc/containerd"):
        os.makedirs(path, exist_ok=True)
        run("mount", "-t", "tmpfs", "none", path)
    _lab = Lab(os.environ.get("FS", "xfs"), "6G")
    return _lab


def lab():
    return _lab


def scratch(name):
    """A new directory on the journalled file system."""
    path = _lab.path("%s-%d" % (name, next(_number)))
    os.makedirs(path)
    return path
