"""A node as the documentation sets one up: containerd with the fragment of config/dist, of which only the paths are replaced."""
import json
import os
import re
import signal

from checks.activation import Activated
from lab import DISABLED, ROOT, TOOLS, run, wait_for

# The paths in the shipped files, which no test may use.
SOCKET, STATE = "/run/chunked-snapshotter/chunked-snapshotter.sock", "/var/lib/chunked-snapshotter"
NODE_NETWORK = 2
# Who root of a user namespace is outside of it, and how many ids it has.
HOST_ID, IDS = 1_000_000, 65536
# What the machine's administrator adds for Kubernetes: the test's pause image, a runtime class on another snapshotter, and what a
# test machine cannot do.
OLD_CRI = """[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni}"
  conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stats_collect_period = 1
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.plain]
  runtime_type = "io.containerd.runc.v2"
  snapshotter = "overlayfs"
"""
# containerd 2.x asks runc whether it can map the ids of mounts; Debian's cannot.
NEW_CRI = """[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{cni}"]
  conf_dir = "{cni}"
[plugins."io.containerd.cri.v1.images"]
  stats_collect_period = 1
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"
[plugins."io.containerd.cri.v1.images".runtime_platforms.plain]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.plain]
  runtime_type = "io.containerd.runc.v2"
  snapshotter = "overlayfs"
"""

# A network with nothing in it: a user namespace may mount /sys only with a network of its own, and containerd wants to be told of one.
CNI = """#!/bin/sh
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "0.4.0", "interfaces": [{"name": "eth0", "sandbox": "'"$CNI_NETNS"'"}],
  "ips": [{"version": "4", "interface": 0, "address": "192.0.2.2/24"}]}'
"""


def text(version):
    """The shipped fragment for this line of containerd."""
    with open(os.path.join(ROOT, "config", "dist", "containerd-%s.x.toml" % version[0])) as f:
        return f.read()


def fragment(version, socket, root):
    """The same with a node's paths, and nothing else changed."""
    shipped = text(version)
    for path, instead in ((SOCKET, socket), (STATE, root)):
        if '"%s"' % path not in shipped:
            raise AssertionError("the fragment for %s lacks %s" % (version, path))
        shipped = shipped.replace('"%s"' % path, '"%s"' % instead)
    return shipped


class Shipped(Activated):
    """Our socket is somebody else's, as with the shipped units. `pause`: name of the image for sandboxes. `store` is empty: the limits of our store are the shipped ones, too."""

    cri = {1: OLD_CRI, 2: NEW_CRI}

    def __init__(self, lab, version, known_hosts, pause, store="", **more):
        # Root of a user namespace is nobody special on the way to its own files.
        os.chmod(lab.dir, 0o711)
        super().__init__(lab, version, known_hosts, pause=pause, store=store, **more)

    def fragment(self):
        return fragment(self.version, self.ours, self.root)

    def start_containerd(self):
        two = self.version.startswith("2")
        shipped = self.fragment()
        head = 'root = "%s"\nstate = "%s"\ndisabled_plugins = %s\n' % (
            self.path("root"), self.path("state"), json.dumps(["io.containerd." + name for name in DISABLED]))
        tail = '[grpc]\n  address = "%s"\n[ttrpc]\n  address = "%s.ttrpc"\n' % (self.socket, self.socket)
        tail += self.cri[2 if two else 1].format(pause=self.pause, runc=os.path.join(TOOLS, "runc-1.3", "runc"), cni=self.network())
        if two:
            os.makedirs(self.path("conf.d"), exist_ok=True)
            with open(self.path("conf.d", "chunked.toml"), "w") as f:
                f.write(shipped)
            head = "version = 3\n" + head + 'imports = ["%s"]\n' % self.path("conf.d", "*.toml")
        else:
            # An import would take the place of the CRI plugin's whole section, as the fragment says: it is written into the file.
            head += shipped
            self.link_image_fs()
        with open(self.path("config.toml"), "w") as f:
            f.write(head + tail)
        self.containerd = self.lab.start(os.path.basename(self.dir) + "-containerd", [
            os.path.join(self.bin, "containerd"), "--config", self.path("config.toml")], env=self.env())
        wait_for("containerd", lambda: self.ctr("version", check=False).returncode == 0)
        # Its CRI service begins a little later.
        wait_for("CRI", lambda: self.crictl("version", check=False).returncode == 0)

    def network(self):
        """The directory of the network's plugins, which is that of its configuration, too."""
        directory = self.path("cni")
        os.makedirs(directory, exist_ok=True)
        for name in ("loopback", "nothing"):
            with open(os.path.join(directory, name), "w") as f:
                f.write(CNI)
            os.chmod(os.path.join(directory, name), 0o755)
        with open(os.path.join(directory, "10-nothing.conf"), "w") as f:
            json.dump({"cniVersion": "0.4.0", "name": "nothing", "type": "nothing"}, f)
        return directory

    def link_image_fs(self):
        """As the fragment says: Debian's 1.6 reports this directory to the kubelet."""
        place = self.path("root", "io.containerd.snapshotter.v1.chunked")
        if self.version == "1.6" and not os.path.islink(place):
            os.makedirs(self.path("root"), exist_ok=True)
            os.symlink(self.root, place)

    def restart_containerd(self, version=None):
        """Ends it, and starts it again, as another version if one is named."""
        self.containerd.stop()
        self.lab.processes.remove(self.containerd)
        if version:
            self.version, self.bin = version, os.path.join(TOOLS, "containerd-" + version)
        self.start_containerd()

    def restart_daemon(self):
        self.restart(signal.SIGTERM)

    def crictl(self, *arguments, check=True):
        address = "unix://" + self.socket
        return run(os.path.join(TOOLS, "crictl"), "-r", address, "-i", address, "-t", "60s", *arguments, check=check)

    def write(self, name, what):
        with open(self.path(name), "w") as f:
            json.dump(what, f)
        return self.path(name)

    def namespaces(self, mapped):
        """Options of a pod and of its containers."""
        ids = [{"host_id": HOST_ID, "container_id": 0, "length": IDS}]
        options = {"userns_options": {"mode": 0, "uids": ids, "gids": ids}} if mapped else {"network": NODE_NETWORK}
        return {"security_context": {"namespace_options": options}}

    def pod(self, name, mapped=False, handler=None):
        """Starts a sandbox; `mapped`: in a user namespace, `handler`: of this runtime class. Gives its identity and its file."""
        config = self.write("pod-%s.json" % name, {
            "metadata": {"name": name, "namespace": "default", "uid": "uid-" + name}, "log_directory": self.path("logs"),
            "linux": self.namespaces(mapped)})
        return self.crictl("runp", *(["--runtime", handler] if handler else []), config).stdout.strip(), config

    def container(self, pod, name, image, mapped=False, **more):
        """Creates and starts a container in a pod; gives its identity."""
        identity, config = pod
        described = self.write("container-%s.json" % name, {
            "metadata": {"name": name}, "image": {"image": image.name}, "log_path": name + ".log", "linux": self.namespaces(mapped), **more})
        made = self.crictl("create", identity, described, config).stdout.strip()
        self.crictl("start", made)
        return made

    def log(self, name):
        try:
            with open(os.path.join(self.path("logs"), name + ".log")) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def layers_in(self, namespace, image):
        """The image's layer blobs that containerd's content store has for a namespace."""
        held = self.ctr("-n", namespace, "content", "ls", "-q").stdout.split()
        return [layer for layer in image.layers if layer in held]

    def snapshots(self, namespace, snapshotter="chunked"):
        """What containerd has of a snapshotter: names by kind."""
        found = {}
        for line in self.ctr("-n", namespace, "snapshots", "--snapshotter", snapshotter, "ls").stdout.splitlines()[1:]:
            words = line.split()
            found.setdefault(words[-1], []).append(words[0])
        return found


def full_version(node):
    said = run(os.path.join(node.bin, "containerd"), "--version").stdout
    return re.search(r"\d+\.\d+\.\d+", said).group(0)
