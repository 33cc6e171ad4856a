"""The peers. Each row's store starts empty and pulls the releases of an image one after the other."""
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

SOCI_CONF = """no_prometheus = true
skip_check_snapshotter_supported = true
[content_store]
type = "containerd"
containerd_address = "{containerd}"
[pull_modes.soci_v1]
enable = false
[pull_modes.soci_v2]
enable = false
[pull_modes.parallel_pull_unpack]
enable = true
max_concurrent_downloads = 50
max_concurrent_downloads_per_image = 10
concurrent_download_chunk_size = "16mb"
max_concurrent_unpacks = 20
max_concurrent_unpacks_per_image = 10
discard_unpacked_layers = true
[resolver.host."{registry}"]
[[resolver.host."{registry}".mirrors]]
host = "http://{registry}"
insecure = true
"""
SOCI_PLUGIN = """[proxy_plugins.soci]
  type = "snapshot"
  address = "{socket}"
[proxy_plugins.soci.exports]
  root = "{root}"
  enable_remote_snapshot_annotations = "true"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "soci"
"""


class Containerd:
    """`ctr images pull` with containerd 2.4: the same client for us and for overlayfs."""

    def __init__(self, lab, address, snapshotter):
        self.snapshotter = snapshotter
        self.node = Node(lab, "2.4", [address], name="bench")
        self.env = self.node.env()
        self.program = os.path.join(self.node.bin, "ctr")

    def command(self, image, case):
        return [self.program, "-a", self.node.socket, "images", "pull", "--plain-http", "--snapshotter", self.snapshotter, image]

    def daemons(self):
        """Our daemon runs in every row, but works only in ours."""
        return [self.node.containerd.pid] + ([self.node.daemon.pid] if self.snapshotter == "chunked" else [])

    def close(self):
        self.node.stop()


class SociNode(Node):
    """A containerd that knows SOCI's library as `soci`, in its parallel mode, with the settings its documents give."""

    def __init__(self, lab, address):
        self.registry = address
        super().__init__(lab, "2.4", [address], name="bench")

    def start_daemon(self):
        super().start_daemon()
        with open(self.path("soci.toml"), "w") as f:
            f.write(SOCI_CONF.format(containerd=self.socket, registry=self.registry))
        self.soci = self.lab.start("soci", [os.path.join(TOOLS, "socid"), "-address", self.path("soci.sock"), "-root", self.path("soci"),
                                            "-config", self.path("soci.toml")])

    def more_containerd(self):
        return SOCI_PLUGIN.format(socket=self.path("soci.sock"), root=self.path("soci"))

    def stop(self):
        self.soci.stop()
        super().stop()


class Soci(Containerd):
    """SOCI pulls whole layers in parallel pieces, if its client gives it the image's labels: nerdctl does."""

    def __init__(self, lab, address):
        self.snapshotter, self.node = "soci", SociNode(lab, address)
        self.env, self.program = self.node.env(), os.path.join(TOOLS, "nerdctl")

    def command(self, image, case):
        return [self.program, "-a", self.node.socket, "--data-root", self.node.path("nerdctl"), "--insecure-registry",
                "--snapshotter", "soci", "pull", "-q", image]

    def daemons(self):
        return [self.node.containerd.pid, self.node.soci.pid]


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

    def command(self, image, case):
        return [self.program, "docker://" + image, "containers-storage:bench/" + case]

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

    def command(self, image, case):
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
    "soci": ("SOCI in parallel mode on zstd", "zstd", Soci),
    "ours-gzip": ("ours on gzip", "gzip", lambda *a: Containerd(*a, "chunked")),
    "engine": ("ours without containerd", "zstd:chunked", Engine),
}


def missing_parts(row):
    """Programs that a row needs and that are not there."""
    needed = {"engine": [BINARY], "reference": [os.path.join(TOOLS, "refcopy")],
              "soci": [os.path.join(TOOLS, "socid"), os.path.join(TOOLS, "nerdctl"), os.path.join(TOOLS, "containerd-2.4/ctr")]}
    of_all = [os.path.join(TOOLS, "countproxy")]
    return [path for path in needed.get(row, [BINARY, os.path.join(TOOLS, "containerd-2.4/ctr")]) + of_all if not os.access(path, os.X_OK)]
