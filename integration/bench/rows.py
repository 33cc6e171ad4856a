"""The peers. Each row's store starts empty, pulls release 1 (cold), then release 2 (update)."""
import os
import shutil

from lab import BINARY, Node, TOOLS, run

STORAGE_CONF = """[storage]
driver = "overlay"
graphroot = "{root}/g"
runroot = "{root}/r"
[storage.options]
pull_options = {{enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}}
"""


class Containerd:
    """`ctr images pull` with containerd 2.4: the same client for us and for overlayfs."""

    def __init__(self, lab, address, snapshotter):
        self.snapshotter = snapshotter
        self.node = Node(lab, "2.4", [address], name="bench")
        self.env = self.node.env()
        self.program = os.path.join(self.node.bin, "ctr")

    def command(self, image, release):
        return [self.program, "-a", self.node.socket, "images", "pull", "--plain-http", "--snapshotter", self.snapshotter, image]

    def daemons(self):
        """Our daemon runs in every row, but works only in ours."""
        return [self.node.containerd.pid] + ([self.node.daemon.pid] if self.snapshotter == "chunked" else [])

    def close(self):
        self.node.stop()


class Reference:
    """The reference partial puller (containers/image and storage): one process, no daemon."""

    def __init__(self, lab, _address):
        self.root = lab.path("reference")
        os.makedirs(self.root)
        conf = os.path.join(self.root, "storage.conf")
        with open(conf, "w") as f:
            f.write(STORAGE_CONF.format(root=self.root))
        self.env = {"CONTAINERS_STORAGE_CONF": conf, "CONTAINERS_REGISTRIES_CONF": "/dev/null"}
        self.program = os.path.join(TOOLS, "refcopy")

    def command(self, image, release):
        return [self.program, "docker://" + image, "containers-storage:bench/v%d" % release]

    def daemons(self):
        return []

    def close(self):
        run("sh", "-c", "grep ' %s' /proc/self/mounts | cut -d' ' -f2 | sort -r | xargs -r umount -l" % self.root)
        shutil.rmtree(self.root)


class Engine:
    """Our pipeline alone: `chunked-snapshotter pull`, no containerd."""

    def __init__(self, lab, _address):
        self.store = lab.path("engine")
        self.env, self.program = {}, BINARY

    def command(self, image, release):
        return [BINARY, "pull", image, "--root", self.store, "--json"]

    def daemons(self):
        return []

    def close(self):
        shutil.rmtree(self.store, ignore_errors=True)


# key: (title, format, how to open it). The first is the one all ratios are about.
ROWS = {
    "ours": ("ours", "zstd:chunked", lambda *a: Containerd(*a, "chunked")),
    "overlayfs-gzip": ("overlayfs on gzip", "gzip", lambda *a: Containerd(*a, "overlayfs")),
    "overlayfs-zstd": ("overlayfs on zstd", "zstd", lambda *a: Containerd(*a, "overlayfs")),
    "reference": ("reference partial puller", "zstd:chunked", Reference),
    "ours-gzip": ("ours on gzip", "gzip", lambda *a: Containerd(*a, "chunked")),
    "engine": ("ours without containerd", "zstd:chunked", Engine),
}
