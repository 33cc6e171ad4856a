"""Other users of the machine, and what an image leaves lying about: the umask is the process's own, `pull --to` follows no other user's
links and lets nobody in before it is whole, special files of an image are never opened."""
import http.server
import json
import os
import re
import signal
import stat
import subprocess
import tarfile
import threading

import images
import trees
from checks.resume import pulling
from lab import BINARY, Failure, Node, TOOLS, run, wait_for

NOBODY = 65534


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def under(umask, *command, env=None, check=True):
    return run("sh", "-c", 'umask %s; exec "$@"' % umask, "sh", *command, env=env, check=check)


class Closed(http.server.BaseHTTPRequestHandler):
    """A registry that wants a password for everything."""

    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def made(node, name):
    """Says whether a layer that is not committed holds an entry of this name."""
    return any(name in names for place in ("staging", "partial") for _, _, names in os.walk(os.path.join(node.root, place)))


def checks(lab, registry):
    def build(t):
        images.add(t, "./wide", data=b"w", mode=0o666)
        images.add(t, "./group/", images.D, mode=0o2775, uid=3, gid=4)
        images.add(t, "./group/setuid", data=b"s", mode=0o6777)
        images.add(t, "./group/fifo", tarfile.FIFOTYPE, mode=0o622)
        images.add(t, "./link", images.S, linkname="wide")
        images.add(t, "./implied/below/it", data=b"i", mode=0o777)
    odd = images.push(lab, registry, "users", [images.tar(build)], ["zstd:chunked", "gzip"])

    def umask():
        plain = None
        for number, (value, parents) in enumerate((("022", 0o755), ("077", 0o700), ("000", 0o755))):
            for form, image in odd.items():
                base = lab.path("umask-%s-%s" % (value, form.replace(":", "-")))
                under(value, BINARY, "pull", image.name, "--root", base + ".root", "--to", base + "/a/b")
                if (mode(base), mode(base + "/a")) != (parents, parents) or mode(base + "/a/b") != 0o755:
                    raise Failure("umask %s: modes %s" % (value, [oct(mode(base + p)) for p in ("", "/a", "/a/b")]))
                if plain is None:
                    plain = base + "/a/b"
                lines, entries = trees.differences(plain, base + "/a/b", trees.directories(plain))
                if lines or entries < 8:
                    raise Failure("umask %s: %s" % (value, lines))

    def helpers():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closed)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = "127.0.0.1:%d" % server.server_port
            place = lab.path("helper")
            os.makedirs(place)
            with open(place + "/docker-credential-spy", "w") as f:
                f.write('#!/bin/sh\numask >"%s/umask"\ncat >/dev/null\necho \'{"ServerURL":"x","Username":"u","Secret":"p"}\'\n' % place)
            os.chmod(place + "/docker-credential-spy", 0o755)
            with open(place + "/config.json", "w") as f:
                json.dump({"credHelpers": {address: "spy"}}, f)
            for value in ("0022", "0027"):
                under(value, BINARY, "pull", address + "/x:v1", "--root", place + "/root", check=False,
                      env={"PATH": place + ":" + os.environ["PATH"], "DOCKER_CONFIG": place})
                with open(place + "/umask") as f:
                    found = f.read().strip()
                if found != value:
                    raise Failure("a credential helper has umask %s, started with %s" % (found, value))
        finally:
            server.shutdown()

    def threads():
        node = Node(lab, "2.4", [registry], name="umask")
        try:
            node.nerdctl("pull", "-q", odd["zstd:chunked"].name)
            mine = re.search(r"Umask:\s+(\d+)", open("/proc/self/status").read()).group(1)
            for thread in os.listdir("/proc/%d/task" % node.daemon.pid):
                with open("/proc/%d/task/%s/status" % (node.daemon.pid, thread)) as f:
                    found = re.search(r"Umask:\s+(\d+)", f.read()).group(1)
                if found != mine:
                    raise Failure("a thread of the daemon has umask %s" % found)
        finally:
            node.stop()

    def others_links():
        base, target = lab.path("shared"), lab.path("target")
        os.makedirs(base)
        os.makedirs(target)
        os.chmod(base, 0o1777)
        os.symlink(target, base + "/theirs")
        os.lchown(base + "/theirs", NOBODY, NOBODY)
        os.symlink(target, base + "/ours")
        os.makedirs(base + "/dir")
        os.chown(base + "/dir", NOBODY, NOBODY)
        os.symlink(target, base + "/dir/ours")
        image = odd["gzip"].name
        for place in ("theirs", "theirs/new", "dir/ours/new"):
            done = run(BINARY, "pull", image, "--root", lab.path("shared-root"), "--to", os.path.join(base, place), check=False)
            if done.returncode == 0 or "symlink that another user may have made" not in done.stderr:
                raise Failure("--to %s: exit %d: %s" % (place, done.returncode, done.stderr))
        if os.listdir(target):
            raise Failure("written through another user's link: %s" % os.listdir(target))
        run(BINARY, "pull", image, "--root", lab.path("shared-root"), "--to", base + "/ours/new")
        if not os.path.exists(target + "/new/wide"):
            raise Failure("a link of root's is not followed")

    def closed_until_whole():
        def many(t):
            for i in range(3000):
                images.add(t, "./f%d" % i, data=b"x" * 100)
        image = images.push(lab, registry, "closed", [images.tar(many)], ["gzip"])["gzip"]
        place = lab.path("closed-to")
        os.mkdir(place)
        os.chmod(place, 0o777)
        os.chown(place, NOBODY, NOBODY)
        seen = set()
        client = subprocess.Popen([BINARY, "pull", image.name, "--root", lab.path("closed-root"), "--to", place],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while client.poll() is None:
            # Looked at between two lists, so that it is a look while the directory is filled.
            before, status, after = len(os.listdir(place)), os.lstat(place), len(os.listdir(place))
            if before > 0 and after < 3000:
                seen.add((stat.S_IMODE(status.st_mode), status.st_uid))
        # containerd, and so we, take no entry's word for the root's mode.
        if client.returncode or mode(place) != 0o755:
            raise Failure("exit %d, mode %o: %s" % (client.returncode, mode(place), client.stderr.read()))
        if seen != {(0o700, 0)}:
            raise Failure("modes and owners while it was filled: %s" % sorted(seen))

    def special_files():
        address, ask = lab.proxy(registry)
        def one(t):
            # No driver has this one; opening one that exists may do anything.
            images.add(t, "dev0", images.C, devmajor=511, devminor=77)
            images.add(t, "pipe", images.F)
            for i in range(60):
                images.add(t, "f%d" % i, data=os.urandom(200_000))
        def two(t):
            # One piece each. Random contents are two now and then, which makes the layer one that is tried twice: the second time
            # the regular files of the first are opened, as they may be.
            for name in ("dev0", "pipe"):
                images.add(t, name, data=name.encode() * 500)
        first = images.push(lab, registry, "special", [images.tar(one)], ["zstd:chunked"])["zstd:chunked"].through(address)
        directory = lab.path("oci-claims")
        images.layout(directory, "claims", [images.tar(two)], ["/x"], diff_ids=first.config["rootfs"]["diff_ids"])
        run(os.path.join(TOOLS, "refcopy"), "--compress", "zstd:chunked", "oci:%s:claims" % directory,
            "docker://%s/test/claims:v1" % registry)
        claims = images.Pushed(registry, "test/claims", "v1").through(address)
        node = Node(lab, "2.4", [address], name="special", strace=lab.path("special-strace"))
        try:
            ask("/set?rate=32&rtt=5")
            client = pulling(node, first)
            # Bytes that the registry has sent say nothing of how far the daemon is: the nodes themselves are waited for.
            wait_for("the device node and the pipe of the layer in staging", lambda: made(node, "dev0") and made(node, "pipe"), 60)
            if client.poll() is not None:
                raise Failure("the pull ended before it could be killed")
            os.kill(node.daemon.pid, signal.SIGKILL)
            node.daemon.child.wait()
            client.communicate(timeout=60)
            ask("/set?rate=0&rtt=0")
            if not made(node, "dev0"):
                raise Failure("the killed pull left no device node: nothing would be tried")
            node.start_daemon()
            client = pulling(node, claims)
            client.communicate(timeout=60)
            if client.returncode == 0:
                raise Failure("a layer that is not what its DiffID says was pulled")
            node.stop()
            with open(lab.path("special-strace"), errors="replace") as f:
                opened = [line for line in f if re.search(r'"(dev0|pipe)"|/fs/(dev0|pipe)>', line)]
            bad = [line for line in opened if "O_PATH" not in line and "O_CREAT" not in line]
            if bad or not opened:
                raise Failure("%d calls, of which open: %s" % (len(opened), bad[:5]))
        finally:
            ask("/set?rate=0&rtt=0")
            node.stop()

    yield "umask: the process's own; trees and parents of --to are the same under any", umask
    yield "umask: credential helpers have the one we were started with", helpers
    yield "umask: every thread of the daemon has the one it was started with", threads
    yield "pull --to follows no link that another user can have made", others_links
    yield "pull --to is closed to others until it is whole", closed_until_whole
    yield "special files that an image left are looked at, and never opened", special_files
