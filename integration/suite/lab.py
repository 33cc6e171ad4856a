"""Private real parts on loopback: a journalled loop file system, registry, containerd, our daemon.

Everything lives in one temporary directory and ends with the `Lab`, also after an error or a signal: processes are
ended by pid, mounts below the directory are taken down, the loop file is removed.
"""
import atexit
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = os.path.join(ROOT, ".tools", "bin")
BINARY = os.environ.get("CHUNKED_SNAPSHOTTER") or os.path.join(ROOT, "target", "release", "chunked-snapshotter")
REGISTRY_CONFIG = """version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}/registry, maxthreads: 100}}
  delete: {{enabled: true}}
http: {{addr: "{address}"}}
"""
# Plugins that need what a test machine may not have; none of them matters here.
DISABLED = ("internal.v1.opt", "snapshotter.v1.devmapper", "snapshotter.v1.zfs", "snapshotter.v1.aufs", "snapshotter.v1.btrfs",
            "nri.v1.nri")
CRI = ("grpc.v1.cri", "cri.v1.images", "cri.v1.runtime")
# What a node's administrator writes for Kubernetes, as in config/dist; the pause image is the test's own, and a test
# machine may not have the capability to lower its OOM score.
CRI_CONFIG = {
    1: """[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stats_collect_period = 1
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "chunked"
    disable_snapshot_annotations = false
""",
    2: """[plugins."io.containerd.cri.v1.images"]
  snapshotter = "chunked"
  disable_snapshot_annotations = false
  stats_collect_period = 1
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
"""}


class Failure(Exception):
    """A check that did not hold."""


def free_address():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % s.getsockname()[1]


def run(*command, env=None, check=True, timeout=300):
    """Runs a command; gives its standard output, or raises with everything it said."""
    done = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise Failure("%s: exit %d\n%s%s" % (" ".join(command), done.returncode, done.stdout, done.stderr))
    return done


def wait_for(what, condition, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise Failure("waited %g s in vain for %s" % (seconds, what))


def listens(path):
    """Does anybody accept connections there? A socket outlives a daemon that was killed."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


class Process:
    """A server with a log file, ended by pid."""

    def __init__(self, name, command, log, env=None, stdout=None, pass_fds=()):
        self.name, self.log = name, log
        self.child = subprocess.Popen(command, stdout=stdout or open(log, "ab"), stderr=open(log, "ab"),
                                      env={**os.environ, **(env or {})}, start_new_session=True, text=bool(stdout), pass_fds=pass_fds)

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def kill(self):
        self.child.kill()
        self.child.wait()

    def stop(self):
        if self.alive():
            self.child.terminate()
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()


class Lab:
    """The temporary directory and what runs in it."""

    def __init__(self, filesystem="xfs", size="12G"):
        self.processes, self.disks = [], itertools.count(1)
        self.dir = tempfile.mkdtemp(prefix="cs-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        self.mount = os.path.join(self.dir, "m")
        atexit.register(self.close)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(130))
        self.disk(filesystem, size, self.mount)

    def disk(self, filesystem, size="3G", where=None):
        """Mounts another loop file system; gives where."""
        where = where or os.path.join(self.dir, "m%d-%s" % (next(self.disks), filesystem))
        os.mkdir(where)
        image = where + ".img"
        run("truncate", "-s", size, image)
        make = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "ext4": ["mkfs.ext4", "-q", "-F"], "btrfs": ["mkfs.btrfs", "-q"]}
        run(*make[filesystem], image)
        run("mount", "-o", "loop", image, where)
        return where

    def path(self, *parts):
        return os.path.join(self.mount, *parts)

    def start(self, name, command, env=None, stdout=None, pass_fds=()):
        process = Process(name, command, self.path(name + ".log"), env, stdout, pass_fds)
        self.processes.append(process)
        return process

    def registry(self):
        address = free_address()
        config = self.path("registry.yml")
        with open(config, "w") as f:
            f.write(REGISTRY_CONFIG.format(root=self.mount, address=address))
        self.start("registry", ["docker-registry", "serve", config])
        wait_for("the registry", lambda: answers("http://%s/v2/" % address))
        return address

    def proxy(self, upstream):
        """A counting proxy: its address, and a function that asks its control port."""
        process = self.start("proxy", [os.path.join(TOOLS, "countproxy"), "-upstream", upstream], stdout=subprocess.PIPE)
        address, control = process.child.stdout.readline().split()
        def ask(path):
            with urllib.request.urlopen("http://%s%s" % (control, path), timeout=10) as answer:
                return json.loads(answer.read() or b"null")
        return address, ask

    def close(self):
        # A second Ctrl-C must not leave half of it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()
        end_shims(self.dir)
        if not os.path.isdir(self.dir):
            return
        for _ in range(3):
            with open("/proc/self/mounts") as f:
                mounts = [line.split()[1] for line in f if line.split()[1].startswith(self.dir)]
            for mount in sorted(mounts, reverse=True):
                subprocess.run(["umount", "-l", mount], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


def end_shims(directory):
    """Ends containers, and the shims they live under, of a containerd in this directory: they outlive it."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid) as f:
                words = f.read().split("\0")
            if "containerd-shim" not in words[0] or not any(word.startswith(directory + "/") for word in words):
                continue
            with open("/proc/%s/task/%s/children" % (pid, pid)) as f:
                victims = f.read().split() + [pid]
            for victim in victims:
                os.kill(int(victim), signal.SIGKILL)
        except OSError:
            pass  # it ended by itself


def answers(url):
    try:
        urllib.request.urlopen(url, timeout=2).close()
        return True
    except OSError:
        return False


# Records every call that opens something, with the path as the kernel found it.
STRACE = ["strace", "-f", "-y", "-s", "4096", "-e", "trace=open,openat,openat2"]


class Node:
    """containerd of one line (1.6, 1.7, 2.4), with our daemon behind the plugin name `chunked`."""

    def __init__(self, lab, version, known_hosts=(), name=None, pause=None, settings="", strace=None,
                 root=None, store='unused_grace = "0s"\nunused_bytes = "0B"\n'):
        """`pause`: name of the image for Kubernetes sandboxes; turns containerd's CRI service on.
        `settings`: more for our configuration file; files of the host are left alone unless it has [host].
        `strace`: a file for the calls of our daemon that open something. `root`: where our daemon keeps its files.
        `store`: lines of [store] in our configuration file."""
        self.lab, self.version, self.pause, self.strace, self.store = lab, version, pause, strace, store
        self.more = settings if "[host]" in settings else settings + '[host]\npolicy = "off"\n'
        self.dir = lab.path(name or "node-" + version)
        os.makedirs(self.dir)
        self.bin = os.path.dirname(shutil.which("containerd") or "/usr/bin/containerd") if version == "1.6" \
            else os.path.join(TOOLS, "containerd-" + version)
        self.socket, self.ours = self.path("c.sock"), self.path("cs.sock")
        self.root = root or self.path("cs")
        self.known_hosts = list(known_hosts)
        self.start_daemon()
        self.start_containerd()

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def settings(self):
        """Further lines for [registry] of our configuration."""
        return ""

    def serving(self):
        """Writes our daemon's configuration; gives the command that starts it."""
        config = self.path("chunked.toml")
        with open(config, "w") as f:
            f.write('[log]\nformat = "json"\n[registry]\nknown_hosts = %s\n%s\n[store]\n%s%s'
                    % (json.dumps(self.known_hosts), self.settings(), self.store, self.more))
        return [BINARY, "serve", "--config", config, "--root", self.root, "--address", self.ours, "--containerd-address", self.socket]

    def start_daemon(self):
        # -D: the process that is started is the daemon, and strace hangs on it.
        watched = STRACE + ["-D", "-o", self.strace] if self.strace else []
        self.daemon = self.lab.start(os.path.basename(self.dir) + "-daemon", watched + self.serving())
        def ready():
            if not self.daemon.alive():
                raise Failure("the daemon ended:\n" + self.daemon.text()[-2000:])
            return listens(self.ours)
        wait_for("our daemon", ready)

    def disabled(self):
        """Plugins of containerd that are off."""
        return DISABLED if self.pause else DISABLED + CRI

    def more_containerd(self):
        """Further lines for containerd's configuration."""
        return CRI_CONFIG[2 if self.version.startswith("2") else 1].format(pause=self.pause) if self.pause else ""

    def start_containerd(self):
        two = self.version.startswith("2")
        with open(self.path("config.toml"), "w") as f:
            f.write('version = %d\nroot = "%s"\nstate = "%s"\ndisabled_plugins = %s\n' % (
                3 if two else 2, self.path("root"), self.path("state"),
                json.dumps(["io.containerd." + name for name in self.disabled()])))
            f.write('[grpc]\n  address = "%s"\n[ttrpc]\n  address = "%s.ttrpc"\n' % (self.socket, self.socket))
            f.write('[proxy_plugins.chunked]\n  type = "snapshot"\n  address = "%s"\n' % self.ours)
            f.write('[proxy_plugins.chunked.exports]\n  root = "%s"\n  enable_remote_snapshot_annotations = "true"\n' % self.root)
            f.write(self.more_containerd())
            for name in ("overlayfs", "chunked") if two else ():
                f.write('[[plugins."io.containerd.transfer.v1.local".unpack_config]]\n'
                        '  platform = "linux/amd64"\n  snapshotter = "%s"\n' % name)
        self.containerd = self.lab.start(os.path.basename(self.dir) + "-containerd", [
            os.path.join(self.bin, "containerd"), "--config", self.path("config.toml")], env=self.env())
        wait_for("containerd", lambda: self.ctr("version", check=False).returncode == 0)

    def env(self):
        return {"PATH": self.bin + ":" + os.environ["PATH"]}

    def ctr(self, *arguments, check=True):
        return run(os.path.join(self.bin, "ctr"), "-a", self.socket, *arguments, env=self.env(), check=check)

    def crictl(self, *arguments):
        address = "unix://" + self.socket
        return run(os.path.join(TOOLS, "crictl"), "-r", address, "-i", address, "-t", "60s", *arguments)

    def nerdctl(self, *arguments, snapshotter="chunked", program="nerdctl", check=True):
        return run(*self.nerdctl_command(*arguments, snapshotter=snapshotter, program=program), env=self.env(), check=check)

    def nerdctl_command(self, *arguments, snapshotter="chunked", program="nerdctl"):
        return [os.path.join(TOOLS, program), "-a", self.socket, "--data-root", self.path("nerdctl"), "--insecure-registry",
                "--snapshotter", snapshotter, *arguments]

    def says(self, image, *namespace, snapshotter="chunked", check=True):
        """Runs a container of the image; gives how it ended and what it printed.

        On a busy machine nerdctl now and then shows nothing of a container that ended well and at once (seen twice, not brought about
        by hand). Our programs always print something, so that silence says nothing of the image: it is run again."""
        for _ in range(3):
            done = self.nerdctl(*namespace, "run", "--rm", "--net", "none", image.name, snapshotter=snapshotter, check=check)
            if done.returncode or done.stdout:
                break
            print("    nerdctl showed nothing of a container that ended well: once more", flush=True)
        return done

    def mounted(self, image, snapshotter, where):
        """Mounts what a container of the image would see; gives a function that undoes it."""
        os.makedirs(where, exist_ok=True)
        container = os.path.basename(where)
        # A container, because containerd collects a snapshot that nothing refers to at any moment.
        self.ctr("containers", "create", "--snapshotter", snapshotter, image.name, container)
        run("sh", "-c", self.ctr("snapshots", "--snapshotter", snapshotter, "mounts", where, container).stdout)
        return lambda: (run("umount", where), self.ctr("containers", "rm", container))

    def forget(self, image):
        """Removes the image and everything of it from containerd and from us."""
        self.ctr("images", "rm", "--sync", image.name, check=False)

    def layer_blobs(self, image):
        """Digests of the image's layer blobs that containerd's content store holds."""
        held = self.ctr("content", "ls", "-q").stdout.split()
        return [layer for layer in image.layers if layer in held]

    def staging(self):
        return os.listdir(os.path.join(self.root, "staging"))

    def stop(self):
        self.containerd.stop()
        self.daemon.stop()
        run("sh", "-c", "grep ' %s' /proc/self/mounts | cut -d' ' -f2 | sort -r | xargs -r umount -l" % self.dir)
        shutil.rmtree(self.dir, ignore_errors=True)
