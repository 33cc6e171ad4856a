"""Pulls by the daemon before containerd asks: what they save those who come later, whom their credentials reach, how they end."""
import base64
import json
import os
import random
import signal
import subprocess
import time

import images
import servers
from lab import BINARY, Failure, Node, run, wait_for

USER, PASSWORD = "user", "PREPULL-SECRET"


class Daemon(Node):
    """A node whose daemon pulls for us."""

    def pull(self, name, *options, creds=None, check=True):
        """`pull` by the daemon; gives its report, or with `check=False` the finished process."""
        done = subprocess.run(self.pulling(name, *options), input=creds, capture_output=True, text=True, timeout=120)
        if not check:
            return done
        if done.returncode or "pulling by the daemon on " + self.ours not in done.stderr:
            raise Failure("pull %s: exit %d\n%s" % (name, done.returncode, done.stderr[-3000:]))
        return json.loads(done.stdout)

    def pulling(self, name, *options):
        return [BINARY, "pull", name, "--json", "--address", self.ours, "--config", self.path("chunked.toml"), *options]

    def ask(self, *words):
        return json.loads(run(BINARY, *words, "--json", "--address", self.ours, "--config", self.path("chunked.toml")).stdout)

    def jobs(self):
        return self.ask("pulls", "ls")

    def secrets_in_memory(self, words):
        """Those of the words that stand anywhere in the daemon's memory."""
        found, longest = set(), max(map(len, words))
        with open("/proc/%d/maps" % self.daemon.pid) as maps, open("/proc/%d/mem" % self.daemon.pid, "rb", 0) as memory:
            for line in maps:
                place, rights = line.split()[:2]
                if not rights.startswith("rw"):
                    continue
                start, end = (int(part, 16) for part in place.split("-"))
                tail = b""
                while start < end:
                    memory.seek(start)
                    try:
                        piece = memory.read(min(end - start, 16 << 20))
                    except OSError:
                        break  # a guard page
                    if not piece:
                        break
                    start += len(piece)
                    found |= {word for word in words if word.encode() in tail + piece}
                    tail = (tail + piece)[-longest:]
        return sorted(found)


class Slow(Daemon):
    """The same on a slow line."""

    def settings(self):
        return 'bandwidth = "6MiB"\n'


def expect(what, condition):
    if not condition:
        raise Failure(what)


def spellings(password):
    """A secret, and what it looks like in headers."""
    words = [password]
    words += [base64.b64encode(text.encode()).decode().rstrip("=") for text in ("%s:%s" % (USER, password), password)]
    return words


def checks(lab, registry):
    address, ask = lab.proxy(registry)
    noise = random.Random(15)
    push = lambda name, layers: images.push(lab, registry, name, layers, ["zstd:chunked"])["zstd:chunked"].through(address)
    small = push("pre-small", images.application(1))
    gone = push("pre-gone", [images.tar(lambda t: images.add(t, "srv/gone", data=b"gone"))])
    large = push("pre-large", images.application(2) + [
        images.tar(lambda t, n=n: images.add(t, "srv/noise-%d" % n, data=noise.randbytes(6 << 20))) for n in range(4)])
    layer_requests = lambda: [r for r in ask("/log") if any(layer in r["path"] for layer in large.layers)]

    def holds_up_nobody():
        node = Daemon(lab, "2.4", [address], name="pre-look-up")
        try:
            for image in (small, gone):
                node.nerdctl("pull", "-q", image.name)
            def start(name):
                began = time.monotonic()
                node.ctr("run", "--rm", "--snapshotter", "chunked", small.name, name)
                return time.monotonic() - began
            alone = start("alone")
            ask("/set?rate=12&rtt=5")
            ask("/reset")
            began = time.monotonic()
            pull = subprocess.Popen(node.pulling(large.name), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            wait_for("the pull to fetch", lambda: any(l["bytes_fetched"] > 1 << 20 for j in node.jobs() for l in j["layers"]))
            removal = time.monotonic()
            node.ctr("images", "rm", "--sync", gone.name)
            removal = time.monotonic() - removal
            beside = start("beside")
            expect("the pull has ended already", pull.poll() is None)
            said, errors = pull.communicate(timeout=120)
            took = time.monotonic() - began
            ask("/set?rate=0&rtt=0")
            print("    a container started in %.2f s, beside a pull of %.0f s in %.2f s; an image was removed in %.2f s" % (
                alone, took, beside, removal))
            expect("exit %d: %s" % (pull.returncode, errors), pull.returncode == 0)
            expect("pulled within %.1f s" % took, took > 10)
            expect("a container started %.2f s later than else, removal %.2f s" % (beside - alone, removal),
                   beside < alone + 1 and removal < 2)
            expect("fetched nothing: " + said, json.loads(said)["bytes_fetched"] > 20 << 20 and layer_requests())
            # Default settings of the suite keep nothing that is unused: these are kept for their image.
            run(BINARY, "prune", "--all", "--address", node.ours)
            held = node.ask("pulls", "images")
            expect("not among %s" % held, any(large.name in image["names"] and image["kept_until"] for image in held))
            ask("/reset")
            node.nerdctl("pull", "-q", large.name)
            expect("asked again for layers: %s" % layer_requests(), not layer_requests())
            expect("layer blobs in containerd", not node.layer_blobs(large))
            expect("another program", "hello from version 2" in node.says(large).stdout)
            held = node.ask("pulls", "images")
            expect("not in containerd: %s" % held, any(large.name in i["names"] and i["namespace"] == "default" for i in held))
        finally:
            ask("/set?rate=0&rtt=0")
            node.stop()

    def every_client(version):
        """The clients that ask a remote snapshotter at all."""
        node = Daemon(lab, version, [address], name="pre-clients-" + version)
        try:
            node.pull(large.name)
            ask("/reset")
            if version.startswith("2"):
                node.ctr("images", "pull", "--plain-http", "--snapshotter", "chunked", large.name)
            else:
                node.nerdctl("pull", "-q", large.name)
            expect("asked again for layers: %s" % layer_requests(), not layer_requests())
            expect("layer blobs in containerd", not node.layer_blobs(large))
        finally:
            node.stop()

    def given_credentials():
        passwords = lab.path("pre-htpasswd")
        servers.htpasswd(passwords, USER, PASSWORD)
        basic = servers.registry(lab, "pre-basic", auth={"htpasswd": {"realm": "tests", "path": passwords}})
        at = lambda image: "%s/%s:%s" % (basic, image.repository, image.tag)
        node = Slow(lab, "2.4", [basic], name="pre-credentials", settings='[pull]\nkeep_running_after_cancel = "1s"\n')
        said = []
        def refused(name, creds=None):
            done = node.pull(name, *(["--creds-stdin"] if creds else []), creds=creds, check=False)
            said.append(done.stderr)
            expect("exit %d: %s" % (done.returncode, done.stderr), done.returncode == 1 and "access denied" in done.stderr)
            return done.stderr.splitlines()[-1]
        try:
            alone = run(BINARY, "pull", at(small), "--root", lab.path("pre-alone"), check=False).stderr.splitlines()[-1]
            expect("other words with and without the daemon", refused(at(small)) == alone)
            refused(at(small), USER + ":wrong")
            done = node.pull(at(small), "--creds-stdin", creds="no credentials", check=False)
            expect("%d %s" % (done.returncode, done.stderr), done.returncode == 1 and "reads user:password" in done.stderr)
            report = node.pull(at(small), "--creds-stdin", creds="%s:%s\n" % (USER, PASSWORD))
            expect("fetched nothing", report["bytes_fetched"] > 0)
            node.pull(at(gone), "--creds-stdin", creds=json.dumps({"username": USER, "password": PASSWORD}))
            # They were for that pull, and for nobody else, also while it runs.
            words = spellings(PASSWORD)
            pull = subprocess.Popen(node.pulling(at(large), "--creds-stdin"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE, text=True)
            pull.stdin.write("%s:%s" % (USER, PASSWORD))
            pull.stdin.close()
            wait_for("the pull to fetch", lambda: any(l["bytes_fetched"] > 1 << 20 for j in node.jobs() for l in j["layers"]))
            refused(at(large))
            expect("a search that finds nothing", node.secrets_in_memory(words))
            expect("%s" % node.jobs(), [job["credentials"] for job in node.jobs()] == [True])
            expect("exit %d: %s" % (pull.wait(60), pull.stderr.read()), pull.returncode == 0)
            refused(at(large))
            run("sh", "-c", "echo %s:%s | %s pull %s --creds-stdin --root %s" % (
                USER, PASSWORD, BINARY, at(small), lab.path("pre-direct")))
            held = node.ask("pulls", "images")
            expect("not held: %s" % held, {at(small), at(gone)} <= {name for image in held for name in image["names"]})
            # Its connections may take a moment to close.
            left = ["?"]
            def nothing_left():
                left[:] = node.secrets_in_memory(words)
                return not left
            try:
                wait_for("the memory to be clean", nothing_left, 10)
            except Failure:
                raise Failure("in the daemon's memory: %s" % left)
            where = {"log": node.daemon.text(), "output": "".join(said)}
            for directory, _, names in os.walk(node.root):
                if "/snapshots" not in directory:
                    for name in names:
                        with open(os.path.join(directory, name), "rb") as f:
                            where[name] = f.read().decode("latin-1")
            expect("no databases: %s" % list(where), "state.db" in where and "registries.json" in where)
            for place, text in where.items():
                expect("%s shows a secret" % place, not any(word in text for word in words))
        finally:
            node.stop()

    def ends():
        node = Daemon(lab, "2.4", [address], name="pre-ends", settings='[pull]\nkeep_running_after_cancel = "3s"\n')
        def begun(*options):
            pull = subprocess.Popen(node.pulling(large.name, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            wait_for("the pull to fetch", lambda: any(l["bytes_fetched"] > 1 << 18 for j in node.jobs() for l in j["layers"]))
            return pull
        def is_over(what, seconds):
            wait_for(what, lambda: not node.jobs() and not node.ask("status")["jobs"], seconds)
        watch = subprocess.Popen([BINARY, "pulls", "watch", "--json", "--address", node.ours], stdout=subprocess.PIPE, text=True)
        try:
            ask("/set?rate=8&rtt=5")
            for options, word in ((["--to", node.path("rootfs")], "--to"), (["--plain-http", "r.example"], "--plain-http")):
                done = node.pull(small.name, *options, check=False)
                expect("exit %d: %s" % (done.returncode, done.stderr), done.returncode == 1 and "no %s here" % word in done.stderr)
            first, second = begun(), begun()
            expect("two pulls of one image: %s" % node.jobs(), [job["waiting"] for job in node.jobs()] == [2])
            second.send_signal(signal.SIGINT)
            _, errors = second.communicate(timeout=20)
            expect("exit %d: %s" % (second.returncode, errors), second.returncode == 1 and "interrupted" in errors)
            time.sleep(4)
            expect("who leaves ends it for others", [job["waiting"] for job in node.jobs()] == [1])
            first.send_signal(signal.SIGINT)
            first.communicate(timeout=20)
            is_over("an interrupted pull to end", 2)
            # Who is killed is waited for, as the caller of a Prepare is.
            killed = begun()
            killed.kill()
            killed.communicate()
            time.sleep(1)
            expect("it ended at once", node.jobs())
            is_over("a pull that nobody wants to end", 8)
            cancelled = begun()
            number = node.jobs()[0]["number"]
            node.ask("pulls", "cancel", str(number))
            _, errors = cancelled.communicate(timeout=20)
            expect("exit %d: %s" % (cancelled.returncode, errors), cancelled.returncode == 1 and "the pull was cancelled" in errors)
            is_over("a cancelled pull to end", 2)
            ask("/set?rate=0&rtt=0")
            node.pull(large.name)
            absent = large.name + "-absent"
            done = node.pull(absent, check=False)
            alone = run(BINARY, "pull", absent, "--root", lab.path("pre-absent"), check=False)
            expect("other words: %s" % done.stderr, done.stderr.splitlines()[-1] == alone.stderr.splitlines()[-1])
            watch.terminate()
            told = [json.loads(line) for line in watch.communicate(timeout=20)[0].splitlines()]
            ends = [event["ended"]["error"] for event in told if "ended" in event]
            print("    ended with: %s" % ends)
            expect("told of %s" % told, len(ends) == 5 and sum("started" in event for event in told) == 5 and ends[3] == "")
        finally:
            ask("/set?rate=0&rtt=0")
            watch.kill()
            watch.communicate()
            node.stop()

    yield "an image that the daemon pulled is a look-up, and its pull holds up nobody", holds_up_nobody
    for version in ("1.7", "2.4"):
        yield "clients of containerd %s find what the daemon pulled" % version, lambda v=version: every_client(v)
    yield "credentials of a pull reach its registry, and are gone after it", given_credentials
    yield "pulls end when nobody wants them, when they are cancelled, and with the same words", ends
