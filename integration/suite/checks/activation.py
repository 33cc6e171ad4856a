"""The socket is somebody else's, as with systemd: restarts of the daemon under load, starts in any order, the watchdog.

There is no systemd on a test machine. What it does for us is little: it listens, and starts the daemon with the socket as
descriptor 3. `RESTARTS=100 run activation` plays more restarts than CI has time for.
"""
import itertools
import os
import signal
import socket
import subprocess
import threading
import time

import images
from lab import BINARY, Failure, Node, run, wait_for

RESTARTS = int(os.environ.get("RESTARTS", "10"))
HELLO = "hello from version 1\n"
# Puts the descriptors named before `--` at 3 and following, and becomes the program with the variables of sd_listen_fds(3).
PASS = """n=3; while [ "$1" != -- ]; do eval "exec $n<&$1"; n=$((n + 1)); shift; done; shift
LISTEN_FDS=$((n - 3)) LISTEN_PID=$$ exec "$@" """
# What containerd says of a call that the daemon's death cut off.
CUT_OFF = ("unavailable", "EOF", "connection reset", "connection refused", "broken pipe")


def expect(what, holds):
    if not holds:
        raise Failure(what)


def listening(path):
    """A socket as a service manager makes it."""
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(path)
    os.chmod(path, 0o600)
    bound.listen(128)
    return bound


def passing(sockets, command):
    """The command that starts `command` with these sockets, and the descriptors to leave open for it."""
    numbers = [s.fileno() for s in sockets]
    return ["bash", "-c", PASS, "pass", *map(str, numbers), "--", *command], numbers


class Activated(Node):
    """A node whose socket belongs to this process."""

    bound = None

    def start_daemon(self):
        if not self.bound:
            self.bound = listening(self.ours)
        command, numbers = passing([self.bound], self.serving())
        self.daemon = self.lab.start(os.path.basename(self.dir) + "-daemon", command, pass_fds=numbers)

    def restart(self, how):
        self.daemon.child.send_signal(how)
        self.daemon.child.wait(20)
        self.lab.processes.remove(self.daemon)
        expect("the socket's file is gone", os.path.exists(self.ours))
        self.start_daemon()

    def stop(self):
        super().stop()
        self.bound.close()


class Load:
    """Starts containers and makes snapshots, one after the other on each thread, until it is told to stop.

    `again`: what a kill cut off is tried again, as every client of containerd does; nobody can answer a call whose daemon died."""

    def __init__(self, node, image, again):
        self.node, self.image, self.again = node, image, again
        self.over, self.lock, self.numbers = threading.Event(), threading.Lock(), itertools.count()
        self.done, self.cut_off, self.silent, self.failures = 0, 0, 0, []
        self.threads = [threading.Thread(target=self.loop, args=(what,)) for what in (self.container, self.snapshot, self.snapshot)]
        for thread in self.threads:
            thread.start()

    def loop(self, what):
        while not self.over.is_set():
            for _ in range(3 if self.again else 1):
                said = what(next(self.numbers))
                if not said or not any(word in said for word in CUT_OFF):
                    break
                with self.lock:
                    self.cut_off += 1
            with self.lock:
                self.done += 1
                if said:
                    self.failures.append(said)

    def container(self, number):
        name = "load-%d-%d" % (os.getpid(), number)
        done = self.node.ctr("run", "--rm", "--snapshotter", "chunked", self.image.name, name, check=False)
        if done.returncode:
            # What a failed start left.
            self.node.ctr("containers", "rm", name, check=False)
            self.node.ctr("snapshots", "--snapshotter", "chunked", "rm", name, check=False)
        if done.returncode == 0 and not done.stdout:
            # Zero is the program's own answer: it was started, and came to its end. What it printed ctr copies beside that, and is
            # now and then too late for it (as nerdctl, see Node.says).
            with self.lock:
                self.silent += 1
            return None
        return None if done.returncode == 0 and done.stdout == HELLO else "start: %s%s" % (done.stdout, done.stderr)

    def snapshot(self, number):
        key = "key-%d" % number
        for arguments in (("prepare", key, self.image.chain), ("rm", key)):
            done = self.node.ctr("snapshots", "--snapshotter", "chunked", *arguments, check=False)
            if done.returncode:
                return "%s: %s" % (arguments[0], done.stderr)
        return None

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)


def checks(lab, registry):
    image = images.push(lab, registry, "activation", images.application(1), ["zstd:chunked"])["zstd:chunked"]

    def restarts(version, how):
        node = Activated(lab, version, [registry], name="activation-%s-%d" % (version, how))
        load = None
        try:
            node.nerdctl("pull", "-q", image.name)
            load = Load(node, image, how == signal.SIGKILL)
            for _ in range(RESTARTS):
                time.sleep(0.5)
                node.restart(how)
            time.sleep(1)
            load.stop()
            print("    %d restarts, %d starts and snapshots, %d tried again, %d failed, of %d nothing was shown" % (
                RESTARTS, load.done, load.cut_off, len(load.failures), load.silent), flush=True)
            expect("of %d starts nothing was shown" % load.silent, load.silent <= 1 + load.done // 100)
            expect("too little was done meanwhile: %d" % load.done, load.done > 2 * RESTARTS)
            expect("failed: %s" % load.failures[:3], not load.failures)
            expect("a container after all that", node.says(image).stdout == HELLO)
            sound = run(BINARY, "store", "verify", "--address", node.ours, check=False)
            expect("the store: " + sound.stdout + sound.stderr, sound.returncode == 0)
        finally:
            if load:
                load.stop()
            node.stop()

    def orders():
        """containerd first, and a pull that waits for the daemon; then a daemon that has no containerd for a while."""
        node = Activated(lab, "2.4", [registry], name="activation-orders")
        try:
            node.daemon.stop()
            pull = subprocess.Popen([os.path.join(node.bin, "ctr"), "-a", node.socket, "images", "pull", "--plain-http", "--snapshotter",
                                     "chunked", image.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            try:
                # containerd waits for a second.
                time.sleep(0.3)
                node.start_daemon()
                said, _ = pull.communicate(timeout=60)
                expect("the pull: " + said, pull.returncode == 0)
            finally:
                pull.kill()
            expect("it came by containerd", not node.layer_blobs(image))
            node.containerd.stop()
            node.restart(signal.SIGTERM)
            wait_for("the daemon to answer alone",
                     lambda: run(BINARY, "status", "--address", node.ours, check=False).returncode == 0)
            node.start_containerd()
            expect("a container", node.says(image).stdout == HELLO)
        finally:
            node.stop()

    def told():
        """What the service manager hears: ready, that we are well, and that we stop; and the socket stays."""
        ours, heard = lab.path("told.sock"), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.bind(lab.path("notify.sock"))
        heard.settimeout(10)
        with listening(ours) as bound, heard:
            command, numbers = passing([bound], [BINARY, "serve", "--root", lab.path("told"), "--address", ours,
                                                 "--containerd-address", lab.path("none.sock")])
            # The shell that passes the sockets becomes the daemon: the process is the same.
            daemon = subprocess.Popen(command, pass_fds=numbers, stderr=subprocess.DEVNULL, start_new_session=True, env={
                **os.environ, "NOTIFY_SOCKET": lab.path("notify.sock"), "WATCHDOG_USEC": "400000"})
            try:
                words = [heard.recv(4096).decode().strip() for _ in range(6)]
                expect("heard %s" % words, "READY=1" in words and words.count("WATCHDOG=1") >= 3)
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(ours)
                    peer = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                expect("the socket's owner is another process", int.from_bytes(peer[:4], "little") == daemon.pid)
                daemon.terminate()
                while "STOPPING=1" not in heard.recv(4096).decode():
                    pass
                expect("exit %d" % daemon.wait(20), daemon.returncode == 0)
                expect("the socket's file is gone", os.path.exists(ours))
            finally:
                daemon.kill()
                daemon.wait()

    def refused():
        """Sockets that are not the one containerd knows."""
        ours = lab.path("right.sock")
        with listening(ours) as right, listening(lab.path("wrong.sock")) as wrong, socket.socket(socket.AF_UNIX) as idle, \
                socket.socket(socket.AF_INET) as network:
            idle.bind(lab.path("idle.sock"))
            network.bind(("127.0.0.1", 0))
            network.listen(1)
            for sockets, says in (([right, wrong], "2 sockets were passed"), ([wrong], "wrong.sock, not " + ours), ([idle], "does not listen"),
                                  ([network], "not a valid unix stream socket")):
                command, numbers = passing(sockets, [BINARY, "serve", "--root", lab.path("refused"), "--address", ours])
                done = subprocess.run(command, pass_fds=numbers, capture_output=True, text=True, timeout=20)
                expect("%s: exit %d: %s" % (says, done.returncode, done.stderr), done.returncode == 1 and says in done.stderr)
                expect("no remedy: " + done.stderr, "ListenStream=" in done.stderr)
            expect("the store was touched", not os.path.exists(lab.path("refused")))

    yield "activation: %d restarts under load, containerd 2.4" % RESTARTS, lambda: restarts("2.4", signal.SIGTERM)
    yield "activation: %d kills under load, containerd 1.7" % RESTARTS, lambda: restarts("1.7", signal.SIGKILL)
    yield "activation: containerd and the daemon in any order", orders
    yield "activation: what the service manager is told", told
    yield "activation: other sockets are refused", refused
