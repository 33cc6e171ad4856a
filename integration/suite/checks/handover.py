"""What we cannot pull containerd pulls, at once and with a word why; what is here already nobody fetches."""
import contextlib
import json
import os
import subprocess
import time

import images
import servers
from lab import BINARY, Failure, Node, run

USER, PASSWORD = "user", "PASSWORD-SECRET"
# What a hand-over may cost more than containerd's own pull.
COST = 1.0


def expect(what, condition):
    if not condition:
        raise Failure(what)


def status(node):
    return json.loads(run(BINARY, "status", "--address", node.ours, "--json").stdout)


def lines(node, start, message):
    """What the daemon has logged since byte `start`, of the lines whose message has these words."""
    found = []
    for line in node.daemon.text()[start:].splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if message in entry.get("fields", {}).get("message", ""):
                found.append(entry["fields"])
    return found


def blob_file(lab, digest):
    digits = digest.split(":")[1]
    return lab.path("registry", "docker", "registry", "v2", "blobs", "sha256", digits[:2], digits, "data")


@contextlib.contextmanager
def away(lab, image):
    """The registry has lost the image's layers."""
    files = [blob_file(lab, digest) for digest in image.layers]
    for file in files:
        os.rename(file, file + ".away")
    try:
        yield
    finally:
        for file in files:
            os.rename(file + ".away", file)


@contextlib.contextmanager
def replaced(lab, digest, data):
    """The registry's own file of a blob has other bytes."""
    path = blob_file(lab, digest)
    with open(path, "rb") as f:
        before = f.read()
    with open(path, "wb") as f:
        f.write(data)
    try:
        yield
    finally:
        with open(path, "wb") as f:
            f.write(before)


class SpeaksTls(Node):
    """We speak TLS with these addresses, of loopback as they are."""

    def settings(self):
        certs = self.path("certs.d")
        for address in self.known_hosts:
            os.makedirs(os.path.join(certs, address), exist_ok=True)
            with open(os.path.join(certs, address, "hosts.toml"), "w") as f:
                f.write('server = "https://%s"\n' % address)
        return 'config_path = "%s"' % certs


def small(n):
    """An image of `n` layers of some kB."""
    def layer(i):
        return lambda t: images.add(t, "file%d" % i, data=os.urandom(3000))
    return [images.tar(layer(i)) for i in range(n)]


def checks(lab, registry):
    image = images.push(lab, registry, "handover", images.application(1), ["zstd:chunked", "gzip"])
    passwords = lab.path("handover.htpasswd")
    servers.htpasswd(passwords, USER, PASSWORD)
    private = servers.registry(lab, "private", auth={"htpasswd": {"realm": "tests", "path": passwords}})
    authority = servers.Authority(lab.path("handover-ca"))
    certificate, key = authority.issue("server")
    unknown = servers.registry(lab, "unknown-ca", tls={"certificate": certificate, "key": key})
    at = lambda address, of: "%s/%s:%s" % (address, of.repository, of.tag)

    def handed_over(node, reason, pull, name):
        """`pull` ends well although we could not pull: there is one line about it, and the counter says why."""
        mark, before = len(node.daemon.text()), status(node)["handed_over"].get(reason, 0)
        pull()
        after = status(node)
        expect("%s: %s before, %s after" % (reason, before, after["handed_over"]), after["handed_over"].get(reason, 0) > before)
        said = lines(node, mark, "layer handed over: containerd downloads it")
        expect("not one line but %d: %s" % (len(said), said), len(said) == 1)
        expect("the line lacks something: %s" % said, all(said[0].get(field) for field in ("image", "layer", "reason", "error", "advice")))
        expect("another image is named: %s" % said, name in said[0]["image"] and said[0]["reason"] == reason)
        expect("status names another: %s" % after, after["last_handed_over"]["reason"] == reason)
        expect("jobs are left: %s" % after["jobs"], not after["jobs"])

    def works(node, name):
        out = node.ctr("run", "--rm", "--snapshotter", "chunked", name, "c-%d" % time.monotonic_ns()).stdout
        expect("the container printed %r" % out, out == "hello from version 1\n")

    def only_the_client_knows():
        node = Node(lab, "2.4", [private], name="client-only")
        try:
            for of in (image["zstd:chunked"], image["gzip"]):
                name = at(private, of)
                handed_over(node, "denied", lambda n=name: node.ctr(
                    "images", "pull", "--plain-http", "--user", USER + ":" + PASSWORD, "--snapshotter", "chunked", n), of.repository)
                works(node, name)
                node.ctr("images", "rm", "--sync", name)
            expect("the password is in the log", PASSWORD not in node.daemon.text())
        finally:
            node.stop()

    def refused_by_setting():
        node = Node(lab, "2.4", [private], name="no-fallback", settings='[pull]\nfallback = "fail"\n')
        try:
            name = at(private, image["gzip"])
            done = node.ctr("images", "pull", "--plain-http", "--user", USER + ":" + PASSWORD, "--snapshotter", "chunked", name, check=False)
            expect("exit %d: %s" % (done.returncode, done.stderr), done.returncode != 0 and "access denied" in done.stderr)
            expect("something was handed over", not status(node)["handed_over"])
        finally:
            node.stop()

    def unknown_ca():
        node = SpeaksTls(lab, "2.4", [unknown], name="unknown-ca")
        try:
            for of in (image["zstd:chunked"], image["gzip"]):
                mark = len(node.daemon.text())
                node.nerdctl("pull", "-q", at(unknown, of))
                said = lines(node, mark, "layer handed over: containerd downloads it")
                expect("not one line but %d: %s" % (len(said), said), len(said) == 1 and "certificate" in said[0]["error"])
                works(node, at(unknown, of))
                # The other one has the same chains.
                node.ctr("images", "rm", "--sync", at(unknown, of))
        finally:
            node.stop()

    def unreadable():
        """Neither reader likes the tar: its digests are right, so that it is containerd that says so."""
        garbage = subprocess.run(["gzip", "-c"], input=b"no tar at all\n" * 1000, capture_output=True, check=True).stdout
        of = image["gzip"]
        manifest = json.loads(json.dumps(of.manifest))
        manifest["layers"][1].update(digest=of.put_blob(garbage), size=len(garbage))
        of.put("manifests/garbage", json.dumps(manifest).encode(), manifest["mediaType"])
        node = Node(lab, "2.4", [registry], name="unreadable")
        try:
            def pull():
                done = node.nerdctl("pull", "-q", "%s/%s:garbage" % (registry, of.repository), check=False)
                expect("exit %d: %s" % (done.returncode, done.stderr), done.returncode != 0 and "archive/tar" in done.stderr)
            handed_over(node, "unreadable", pull, of.repository)
        finally:
            node.stop()

    def damaged():
        """The same, but the bytes are not those of the manifest: that is never handed over."""
        of = image["gzip"]
        with open(blob_file(lab, of.layers[1]), "rb") as f:
            good = f.read()
        middle = len(good) // 2
        broken = good[:middle] + b"\0" * 4096 + good[middle + 4096:]
        node = Node(lab, "2.4", [registry], name="damaged")
        try:
            with replaced(lab, of.layers[1], broken):
                done = node.nerdctl("pull", "-q", of.name, check=False)
                expect("exit %d: %s" % (done.returncode, done.stderr), done.returncode != 0 and "digest check failed" in done.stderr)
            expect("something was handed over: %s" % status(node)["handed_over"], not status(node)["handed_over"])
            node.nerdctl("pull", "-q", of.name)
            works(node, of.name)
        finally:
            node.stop()

    def here():
        """Pulled for overlayfs, then for us, while the registry has lost the layers."""
        for format in ("zstd:chunked", "gzip"):
            of = image[format]
            node = Node(lab, "2.4", [registry], name="here-" + of.tag)
            try:
                node.ctr("images", "pull", "--plain-http", "--snapshotter", "overlayfs", of.name)
                with away(lab, of):
                    node.ctr("images", "pull", "--plain-http", "--snapshotter", "chunked", of.name)
                expect("something was handed over: %s" % status(node)["handed_over"], not status(node)["handed_over"])
                ready = lines(node, 0, "layer ready")
                read = [line["from_content_store"] for line in ready]
                expect("read %s, fetched %s" % (read, [line["fetched"] for line in ready]),
                       len(ready) == len(of.layers) and all(read) and not any(line["fetched"] for line in ready))
                works(node, of.name)
            finally:
                node.stop()

    def imported():
        of = image["zstd:chunked"]
        archive = lab.path("handover.tar")
        with_overlayfs = Node(lab, "2.4", [registry], name="exporter")
        try:
            with_overlayfs.ctr("images", "pull", "--plain-http", "--snapshotter", "overlayfs", of.name)
            with_overlayfs.ctr("images", "export", archive, of.name)
        finally:
            with_overlayfs.stop()
        node = Node(lab, "2.4", name="imported")
        try:
            node.ctr("images", "import", "--snapshotter", "chunked", archive)
            works(node, of.name)
            print("    layers made by us: %d of %d" % (len(lines(node, 0, "layer ready")), len(of.layers)))
        finally:
            node.stop()

    def cost(count):
        of = images.push(lab, registry, "cost%d" % count, small(count), ["gzip"])["gzip"]
        node = Node(lab, "2.4", [private], name="cost%d" % count)
        def pull(snapshotter):
            name = at(private, of)
            started = time.monotonic()
            node.ctr("images", "pull", "--plain-http", "--user", USER + ":" + PASSWORD, "--snapshotter", snapshotter, name)
            took = time.monotonic() - started
            node.ctr("images", "rm", "--sync", name)
            return took
        try:
            # In turn, and the least difference of some: other work on the machine only adds, to either.
            pairs = [(pull("overlayfs"), pull("chunked")) for _ in range(4)]
            theirs, ours = min(pairs, key=lambda pair: pair[1] - pair[0])
            print("    %d layers: %.2f s with overlayfs, %.2f s handed over" % (count, theirs, ours))
            expect("%.2f s more" % (ours - theirs), ours - theirs < COST)
        finally:
            node.stop()

    yield "credentials that only the client has: handed over, with one line and a counter", only_the_client_knows
    yield "the same with fallback = \"fail\": the pull fails", refused_by_setting
    yield "a CA that only the client was told to ignore: handed over", unknown_ca
    yield "a tar that our reader refuses, of the right bytes: containerd has its turn", unreadable
    yield "a blob with wrong bytes that cannot be unpacked: fatal, not handed over", damaged
    yield "layers in containerd's content store are not fetched again", here
    yield "an imported image works", imported
    for count in (1, 4, 20):
        yield "a hand-over costs less than %g s: %d layers" % (COST, count), lambda n=count: cost(n)
