"""The state database is lost or damaged: what containerd asks for is rebuilt from the layers, without a download, or named; what
containers wrote is kept as long as they run."""
import glob
import json
import os
import shutil

import images
from checks.handover import away
from lab import BINARY, Failure, Node, run, wait_for

HELLO = "hello from version 1\n"


def expect(what, condition):
    if not condition:
        raise Failure(what)


def ours(node, *arguments):
    return json.loads(run(BINARY, *arguments, "--json", "--address", node.ours).stdout)


def lose(node, how="deleted"):
    """Restarts the daemon without its state database."""
    node.daemon.stop()
    path = os.path.join(node.root, "state.db")
    if how == "damaged":
        with open(path, "r+b") as f:
            f.write(b"\x07" * 20_000)
    else:
        os.unlink(path)
    for file in glob.glob(path + "-*"):
        os.unlink(file)
    node.start_daemon()
    wait_for("containerd to find the daemon", lambda: node.ctr("snapshots", "--snapshotter", "chunked", "ls", check=False).returncode == 0, 60)


def checks(lab, registry):
    address, ask = lab.proxy(registry)
    pushed = images.push(lab, registry, "lost", images.application(1), ["zstd:chunked", "gzip"])

    def rebuilt(version, format, how):
        image = pushed[format].through(address)
        node = Node(lab, version, [address], name="lost-%s-%s" % (version, how))
        container = "kept-%d" % os.getpid()
        try:
            node.nerdctl("pull", "-q", image.name)
            node.ctr("run", "-d", "--snapshotter", "chunked", image.name, container, "/bin/hello", "sleep")
            before = ours(node, "status")
            ask("/reset")
            with away(lab, image):
                lose(node, how)
                # By the daemon itself, or because containerd asks.
                done = node.says(image, check=False)
                expect("run after the loss: %s%s" % (done.stdout, done.stderr), done.stdout == HELLO)
                for _ in range(2):
                    node.nerdctl("pull", "-q", image.name)
                    expect("run after a pull", node.says(image, check=False).stdout == HELLO)
                # Nothing of this is in the registry's hands.
                fetched = {digest: size for digest, size in ask("/stats")["body_of"].items() if any(digest in layer for layer in image.layers)}
                expect("fetched after the loss: %s" % fetched, not fetched)
            status = ours(node, "status")
            expect("before %s, now %s" % (before, status), status["layers"] == before["layers"] == 2 and status["unused_layers"] == 0 and not status["lost"])
            expect("the daemon does not say what happened", "the state database was lost" in node.daemon.text())
            tasks = node.ctr("tasks", "ls").stdout
            expect("the container does not run any more: " + tasks, container in tasks and "RUNNING" in tasks)
            sound = ours(node, "store", "verify", "--contents")
            expect("not sound: %s" % sound, not sound["problems"])
            # A container that is made anew; then everything can be removed, and goes.
            node.ctr("tasks", "rm", "-f", container)
            node.ctr("containers", "rm", container)
            node.forget(image)
            def empty():
                ours(node, "prune", "--all")
                left = ours(node, "status")
                return not (left["layers"] or left["snapshots"])
            wait_for("an empty store", empty, 30)
        finally:
            node.ctr("tasks", "rm", "-f", container, check=False)
            node.stop()

    def named():
        """A layer is lost, too."""
        image = pushed["zstd:chunked"].through(address)
        node = Node(lab, "2.4", [address], name="lost-named")
        try:
            node.nerdctl("pull", "-q", image.name)
            node.daemon.stop()
            (victim,) = [os.path.dirname(os.path.dirname(path)) for path in glob.glob(node.root + "/snapshots/*/fs/srv")]
            shutil.rmtree(victim)
            lose(node)
            done = node.says(image, check=False)
            expect("it ran without its layer: %s" % done.stdout, done.returncode)
            (lost,) = ours(node, "status")["lost"]
            expect("status says %s" % lost, image.repository in lost["image"] and "pull it again" in lost["text"] and image.chain in lost["name"])
            shown = run(BINARY, "status", "--address", node.ours).stdout
            expect("status shows %s" % shown, lost["text"] in shown)
            expect("the log does not name the image", "cannot be rebuilt" in node.daemon.text() and image.repository in node.daemon.text())
            # What is said helps.
            node.ctr("images", "rm", "--sync", image.name)
            node.nerdctl("pull", "-q", image.name)
            expect("run after the advice", node.says(image, check=False).stdout == HELLO)
            expect("it is still called lost", not ours(node, "status")["lost"])
        finally:
            node.stop()

    def mounted():
        """Nobody knows the image any more, and a container runs on its layers: they are not unused."""
        image = pushed["zstd:chunked"].through(address)
        node = Node(lab, "2.4", [address], name="lost-mounted")
        container = "mounted-%d" % os.getpid()
        try:
            node.nerdctl("pull", "-q", image.name)
            node.ctr("run", "-d", "--snapshotter", "chunked", image.name, container, "/bin/hello", "sleep")
            node.ctr("images", "rm", "--sync", image.name)
            node.ctr("content", "prune", "references", check=False)
            lose(node)
            pid = next(line.split()[1] for line in node.ctr("tasks", "ls").stdout.splitlines() if line.startswith(container))
            pruned = ours(node, "prune", "--all")
            held = ours(node, "store", "ls")
            expect("pruned %s, left %s" % (pruned, held), pruned["layers"] == pruned["orphans"] == 0 and len(held["layers"]) == 2)
            expect("the container's own directory: %s" % held["orphans"], held["orphans"]["number"] == 1)
            with open("/proc/%s/root/srv/version" % pid) as f:
                expect("the container's file", f.read() == "version 1\n")
            node.ctr("tasks", "rm", "-f", container)
            def gone():
                ours(node, "prune", "--all")
                left = ours(node, "store", "ls")
                return not left["layers"] and not left["orphans"]["number"]
            node.ctr("containers", "rm", container)
            wait_for("layers and what the container wrote to go with their mount", gone, 30)
        finally:
            node.ctr("tasks", "rm", "-f", container, check=False)
            node.stop()

    yield "lost state: snapshots are rebuilt, containerd 2.4", lambda: rebuilt("2.4", "zstd:chunked", "deleted")
    yield "lost state: snapshots are rebuilt, containerd 1.7, gzip, damaged", lambda: rebuilt("1.7", "gzip", "damaged")
    yield "lost state: what cannot be rebuilt is named by image", named
    yield "lost state: layers that are mounted stay", mounted
