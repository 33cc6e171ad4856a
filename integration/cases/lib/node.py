"""containerd with two snapshotters, ours and overlayfs, and both told of registries by the same certs.d."""
import itertools
import json
import os
import re
import stat
import subprocess
import time

import lab
import trees

from . import machine

STARTED = time.time_ns() - 5 * 10**9
OURS, CONTROL = "chunked", "overlayfs"
_number = itertools.count(1)


class Pulled:
    """How a pull ended: truth, the last line that was said, and whether containerd fetched a layer itself."""

    def __init__(self, ok, text, handed_over=False, seconds=0.0):
        self.ok, self.text, self.handed_over, self.seconds = ok, text, handed_over, seconds

    def __bool__(self):
        return self.ok


class Node(lab.Node):
    """`default_paths`: containerd and we look for certs.d where each does by default. `cri`: more lines for containerd's
    configuration, which turn its service for Kubernetes on; `snapshotter` is the one that service uses. `root`: where our
    daemon keeps its files. `registry`: more lines for our [registry]."""

    def __init__(self, version="2.4", default_paths=False, cri=None, snapshotter=OURS, root=None, registry=""):
        name = "node%d" % next(_number)
        self.default_paths, self.cri, self.snapshotter, self.registry_settings = default_paths, cri, snapshotter, registry
        self.certs = machine.lab().path(name, "certs.d")
        super().__init__(machine.lab(), version, name=name, root=root)

    def settings(self):
        os.makedirs(self.certs, exist_ok=True)
        return ("" if self.default_paths else 'config_path = "%s"\n' % self.certs) + self.registry_settings

    def disabled(self):
        return lab.DISABLED if self.cri is not None else lab.DISABLED + lab.CRI

    def more_containerd(self):
        """The service for Kubernetes, with this snapshotter."""
        if self.cri is None:
            return ""
        if not self.version.startswith("2"):
            return ('[plugins."io.containerd.grpc.v1.cri".containerd]\n  snapshotter = "%s"\n  disable_snapshot_annotations = false\n'
                    % self.snapshotter + self.cri)
        images = '[plugins."io.containerd.cri.v1.images"'
        known = "" if self.default_paths else images + '.registry]\n  config_path = "%s"\n' % self.certs
        return known + images + ']\n  snapshotter = "%s"\n' % self.snapshotter + self.cri

    def hosts(self, address, text):
        """Writes certs.d/ADDRESS/hosts.toml."""
        os.makedirs(os.path.join(self.certs, address), exist_ok=True)
        with open(os.path.join(self.certs, address, "hosts.toml"), "w") as f:
            f.write(text)

    def client(self, namespace, *arguments):
        return self.ctr("-n", namespace, *arguments, check=False)

    def pull(self, ref, snapshotter=OURS, plain=True, hosts=False, more=()):
        """Pulls with ctr, in a namespace of this snapshotter."""
        options = ["images", "pull", "--snapshotter", snapshotter, *(["--plain-http"] if plain else []),
                   *(["--hosts-dir", self.certs] if hosts else []), *more]
        began = time.monotonic()
        try:
            done = self.client(snapshotter, *options, ref)
        except subprocess.TimeoutExpired:
            return Pulled(False, "the pull did not end", seconds=time.monotonic() - began)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return Pulled(done.returncode == 0, lines[-1] if lines else "", seconds=time.monotonic() - began)

    def holds(self, digest, namespace=OURS):
        """Has containerd this blob? Of a layer that we pulled it has none."""
        return digest in self.client(namespace, "content", "ls", "-q").stdout.split()

    def nerdctl_pull(self, ref, snapshotter=OURS, insecure=True, env=None):
        namespace = "nerdctl-" + snapshotter
        began = time.monotonic()
        done = lab.run(os.path.join(lab.TOOLS, "nerdctl"), "-a", self.socket, "-n", namespace, "--data-root", self.path(namespace),
                       "--snapshotter", snapshotter, *(["--insecure-registry"] if insecure else []), "pull", "-q", ref,
                       env={**self.env(), **(env or {})}, check=False, timeout=120)
        return Pulled(done.returncode == 0, (done.stderr.strip().splitlines() or [""])[-1], seconds=time.monotonic() - began)

    def crictl_pull(self, ref, *options):
        address = "unix://" + self.socket
        done = lab.run(os.path.join(lab.TOOLS, "crictl"), "-r", address, "-i", address, "-t", "60s", "pull", *options, ref, check=False)
        return Pulled(done.returncode == 0, (done.stderr.strip().splitlines() or [""])[-1])

    def tree(self, ref, snapshotter=OURS):
        """The merged tree of an image, entry by entry."""
        where = machine.scratch("tree")
        mounted = self.client(snapshotter, "images", "mount", "--snapshotter", snapshotter, ref, where)
        if mounted.returncode:
            raise lab.Failure("mount: " + mounted.stderr.strip())
        try:
            return trees.walk(where)
        finally:
            self.client(snapshotter, "images", "unmount", "--rm", where)
            lab.run("umount", "-l", where, check=False)

    def mark(self):
        return os.path.getsize(self.daemon.log)

    def warnings(self, mark):
        """What our daemon warned of since the mark: each message, and the text of its error."""
        with open(self.daemon.log, errors="replace") as f:
            f.seek(mark)
            lines = f.read().splitlines()
        found = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("level") in ("WARN", "ERROR"):
                fields = entry.get("fields", {})
                found += [str(fields[key]) for key in ("message", "error", "reason") if key in fields]
        return found


def untimed(one, other):
    """The root, and directories that no entry describes: containerd gives them the time of its unpack. So do we, unless a layer
    below has the directory: then its time stays, which is the same on every node."""
    made_now = lambda name: name in other and other[name].get("mtime", 0) > STARTED
    return {b"."} | {name for name in one if made_now(name) and one[name]["type"] == stat.S_IFDIR}


def differences(one, other):
    return trees.compare(one, other, untimed(one, other))


def short(text, limit=420):
    """Without what repeats in every message: times, and most of a digest."""
    text = re.sub(r"time=\S+ level=\S+ msg=", "", " ".join(text.split()))
    text = re.sub(r"(sha(?:256|512)):([0-9a-f]{6})[0-9a-f]{20,}", r"\1:\2…", text)
    return text if len(text) <= limit else text[:limit // 2] + " … " + text[-limit // 2:]


def few(lines, count=3):
    return "; ".join(str(line) for line in lines[:count]) + ("; and %d more" % (len(lines) - count) if len(lines) > count else "")
