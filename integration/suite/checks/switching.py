"""A node moves its images to our snapshotter and back while its pods run, by the commands of docs/switching.md."""
import json
import os
import re
import shlex
import shutil

import images
import servers
from checks.cri import NODE_NETWORK
from lab import BINARY, Failure, Node, ROOT, run, wait_for

PAGE = os.path.join(ROOT, "docs", "switching.md")


def commands(heading):
    """The commands of the page below a heading, in the order in which they are typed; for each step of the page a list."""
    with open(PAGE) as f:
        section = re.search(r"^## %s$(.*?)(?=^## |\Z)" % heading, f.read(), re.M | re.S).group(1)
    return [[line.strip() for line in block.strip().splitlines()] for block in re.findall(r"```sh\n(.*?)```", section, re.S)]


class Kubernetes(Node):
    """A node whose CRI uses `snapshotter`, and on which the commands of the page mean this node's parts."""

    def __init__(self, *arguments, discard, **options):
        self.snapshotter, self.discard, self.pods = "overlayfs", discard, []
        super().__init__(*arguments, **options)

    def more_containerd(self):
        line = 'snapshotter = "%s"' % self.snapshotter
        more = "\n    discard_unpacked_layers = true" if self.discard else ""
        return super().more_containerd().replace('snapshotter = "chunked"', line + more)

    def start_containerd(self):
        super().start_containerd()
        wait_for("CRI", lambda: self.crictl_fails("pods", "-q") is None)

    def restart_containerd(self):
        self.containerd.stop()
        self.start_containerd()

    def type(self, line):
        """Runs a line of the page; gives what it printed."""
        words = shlex.split(line)
        if words[:2] == ["systemctl", "restart"]:
            return self.restart_containerd()
        if words[0] == "chunked-snapshotter":
            return run(BINARY, *words[1:], "--config", self.path("chunked.toml"), "--containerd-address", self.socket).stdout
        if words[0] == "ctr":
            return self.ctr(*words[1:]).stdout
        raise Failure("the page has a command that nothing here runs: " + line)

    def write(self, name, what):
        with open(self.path(name), "w") as f:
            json.dump(what, f)
        return self.path(name)

    def pod(self, name, image):
        """Starts a pod with one container that sleeps; gives the container."""
        config = self.write(name + "-pod.json", {
            "metadata": {"name": name, "namespace": "default", "uid": name + self.version},
            "linux": {"security_context": {"namespace_options": {"network": NODE_NETWORK}}}})
        container = self.write(name + ".json", {
            "metadata": {"name": "app"}, "image": {"image": image.name}, "command": ["/bin/hello", "sleep"], "linux": {}})
        sandbox = self.crictl("runp", config).stdout.strip()
        self.pods.append(sandbox)
        made = self.crictl("create", sandbox, container, config).stdout.strip()
        self.crictl("start", made)
        return made

    def lives(self, container):
        self.crictl("exec", container, "/bin/hello", "alive")
        state = json.loads(self.crictl("inspect", container).stdout)["status"]["state"]
        if state != "CONTAINER_RUNNING":
            raise Failure("the container is " + state)

    def runs_on(self, container, snapshotter):
        if container not in self.ctr("-n", "k8s.io", "snapshots", "--snapshotter", snapshotter, "ls").stdout:
            raise Failure("the container has no snapshot of " + snapshotter)

    def end_pods(self):
        for sandbox in self.pods:
            gone = lambda: self.crictl_fails("rmp", "-f", sandbox) is None or sandbox not in self.crictl("pods", "-q", "--no-trunc").stdout
            wait_for("the pod to go", gone)
        self.pods = []

    def crictl_fails(self, *arguments):
        try:
            self.crictl(*arguments)
            return None
        except Failure as failure:
            return failure

    def reboots(self):
        """Nothing of what ran is left, and /run is empty."""
        self.end_pods()
        self.containerd.stop()
        self.daemon.stop()
        shutil.rmtree(self.path("state"), ignore_errors=True)
        self.start_daemon()
        self.start_containerd()


class Registry:
    """One that can be stopped and started again."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.address = servers.registry(lab, name)
        self.process = lab.processes[-1]

    def stop(self):
        self.process.stop()

    def start(self):
        self.process = self.lab.start(self.name, ["docker-registry", "serve", self.lab.path(self.name + ".yml")])
        wait_for("the registry", lambda: servers.listens(self.address))


def expect(what, condition):
    if not condition:
        raise Failure(what)


def checks(lab, registry):
    pushed = images.push(lab, registry, "switch-app", images.application(1), ["gzip", "zstd:chunked"])
    later = images.push(lab, registry, "switch-later", images.application(2), ["zstd:chunked"])["zstd:chunked"]
    pause = images.push(lab, registry, "switch-pause", images.application(1)[:1], ["gzip"], ["/bin/hello", "sleep"])["gzip"]

    def over_and_back(version, discard):
        name = "switch-%s%s" % (version, "-discard" if discard else "")
        theirs = Registry(lab, name)
        at = lambda image: image.through(theirs.address)
        app, chunked, new = at(pushed["gzip"]), at(pushed["zstd:chunked"]), at(later)
        node = Kubernetes(lab, version, [theirs.address], name=name, pause=at(pause).name, discard=discard)
        blobs = lambda: set(node.ctr("-n", "k8s.io", "content", "ls", "-q").stdout.split())
        snapshots = lambda of: node.ctr("-n", "k8s.io", "snapshots", "--snapshotter", of, "ls").stdout
        try:
            for image in (app, chunked):
                node.crictl("pull", image.name)
            first = node.pod("first", app)
            if discard:
                wait_for("containerd to discard layers", lambda: not blobs() & set(app.layers + chunked.layers))
            restart, adopt, switch, look = commands("Over")
            for line in restart:
                node.type(line)
            node.lives(first)
            # What containerd has needs no registry.
            if not discard:
                theirs.stop()
            planned, said = [node.type(line) for line in adopt]
            expect("three images and more: %s" % planned, planned.count("would be adopted") >= 3 and "0 failed" in planned)
            expect(said, "0 failed" in said and "unpacked by containerd" in said)
            expect("unpacked by containerd instead of us: " + said, not re.search(r"[1-9]\d* unpacked by", said))
            theirs.stop()
            node.snapshotter = "chunked"
            for line in switch:
                node.type(line)
            node.lives(first)
            second = node.pod("second", chunked)
            node.lives(second)
            node.runs_on(second, "chunked")
            node.runs_on(first, "overlayfs")
            expect("overlayfs has nothing", node.type(look[0]).count("\n") > 1)
            node.reboots()
            third = node.pod("third", app)
            node.runs_on(third, "chunked")

            theirs.start()
            node.crictl("pull", new.name)
            expect("the new image was pulled whole", not blobs() & set(new.layers))
            give, switch, look = commands("Back")
            planned, said = [node.type(line) for line in give]
            expect(planned, planned.count("would be released") >= 4)
            expect(said, "0 failed" in said and "containers have a snapshot of chunked" in said)
            theirs.stop()
            node.snapshotter = "overlayfs"
            for line in switch:
                node.type(line)
            node.lives(third)
            for number, image in enumerate((app, chunked, new)):
                back = node.pod("back%d" % number, image)
                node.lives(back)
                node.runs_on(back, "overlayfs")
            node.end_pods()
            def empty():
                # A collection of containerd follows each removal.
                node.ctr("-n", "k8s.io", "images", "rm", "--sync", "absent", check=False)
                return node.type(look[0]).count("\n") <= 1
            wait_for("nothing to be left on our snapshotter: " + snapshots("chunked"), empty)
        finally:
            node.end_pods()
            node.stop()
            theirs.stop()

    for version in ("1.6", "1.7", "2.4"):
        yield ("pods live through overlayfs, us, overlayfs on containerd %s that keeps no blobs" % version,
               lambda v=version: over_and_back(v, True))
    yield "a node with blobs needs no registry to switch", lambda: over_and_back("2.4", False)
