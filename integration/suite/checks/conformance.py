"""containerd's own snapshotter suite against the daemon: directly, and through containerd's metadata."""
import os

from lab import Failure, Node, TOOLS, run


def suite(socket, name):
    env = {"SN_SOCK": socket, "SN_SUITE": "overlayfs", "SN_NAME": name}
    done = run(os.path.join(TOOLS, "snconform"), "-test.root", "-test.v", "-test.parallel", "1", "-test.timeout", "300s",
               env=env, check=False, timeout=400)
    count = {word: done.stdout.count("--- %s:" % word) for word in ("PASS", "FAIL", "SKIP")}
    # The one outer test counts, too.
    if done.returncode or count["FAIL"] or count["SKIP"] or count["PASS"] < 22:
        raise Failure("%s\n%s%s" % (count, done.stdout[-3000:], done.stderr[-1000:]))


def checks(lab, registry):
    def direct():
        node = Node(lab, "2.4", name="conf-direct")
        try:
            suite(node.ours, "proxy")
        finally:
            node.stop()

    def through_containerd():
        node = Node(lab, "2.4", name="conf-through")
        try:
            suite(node.socket, "chunked")
        finally:
            node.stop()

    def published_client():
        node = Node(lab, "2.4", name="conf-client")
        try:
            run(os.path.join(TOOLS, "snapclient"), node.ours, timeout=60)
        finally:
            node.stop()

    yield "conformance suite on the daemon's socket", direct
    yield "all ten calls by the published containerd-snapshots client", published_client
    yield "conformance suite through containerd 2.4", through_containerd
