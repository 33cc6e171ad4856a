"""`doctor` beside real containerds: the shipped files are right, and faults are found by name."""
import json
import os
import re
import subprocess

import shipped
from lab import BINARY, DISABLED, Failure, Node, run, wait_for

# What this machine may be short of, and what nobody set up here.
OF_THE_MACHINE = {"free-space", "nerdctl"}


def expect(what, holds):
    if not holds:
        raise Failure(what)


class Shipped(Node):
    """A containerd whose configuration is the shipped file with this node's paths, and what a test machine needs."""

    def fragment(self):
        return shipped.fragment(self.version, self.ours, self.root)

    def written(self, fragment, imports=None):
        """A configuration file's text; a fragment's own version goes to its head."""
        version = int(re.search(r"^version = (\d)", fragment, re.M).group(1))
        head = 'version = %d\nroot = "%s"\nstate = "%s"\ndisabled_plugins = %s\n' % (
            version, self.path("root"), self.path("state"), json.dumps(["io.containerd." + name for name in DISABLED]))
        if imports is not None:
            head += "imports = %s\n" % json.dumps(imports)
        head += '[grpc]\n  address = "%s"\n[ttrpc]\n  address = "%s.ttrpc"\n' % (self.socket, self.socket)
        return head + re.sub(r"^version = \d$", "", fragment, flags=re.M)

    def write(self, text, name="config.toml"):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def start_containerd(self):
        config = self.write(self.written(self.fragment()))
        if self.version == "1.6":
            # As the shipped file says: 1.6 reports this directory to the kubelet.
            os.makedirs(self.path("root"), exist_ok=True)
            os.symlink(self.root, self.path("root", "io.containerd.snapshotter.v1.chunked"))
        self.containerd = self.lab.start(os.path.basename(self.dir) + "-containerd", [
            os.path.join(self.bin, "containerd"), "--config", config], env=self.env())
        wait_for("containerd", lambda: self.ctr("version", check=False).returncode == 0)

    def doctor(self, *arguments, code=None):
        """Its findings by name, those that are `ok` left out."""
        done = run(BINARY, "doctor", "--json", "--config", self.path("chunked.toml"), "--root", self.root, "--address", self.ours,
                   "--containerd-address", self.socket, *arguments, check=False)
        expect("doctor: exit %d: %s%s" % (done.returncode, done.stdout, done.stderr), done.returncode in (0, 1) and done.stdout)
        found = json.loads(done.stdout)
        expect("exit %d for %s" % (done.returncode, found), done.returncode == (1 if found["wrong"] else 0))
        return {finding["check"]: finding for finding in found["findings"]
                if finding["level"] != "ok" and finding["check"] not in OF_THE_MACHINE}


def without(table):
    """Takes a table out of a fragment, with those below it."""
    return lambda text: re.sub(r"^\s*\[+%s.*?(?=^\[(?!%s)|\Z)" % (re.escape(table), re.escape(table)), "", text, flags=re.M | re.S)


def put(old, new):
    def change(text):
        expect("%r is not in the shipped file" % old, old in text)
        return text.replace(old, new)
    return change


RUNTIME = '\n[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "/srv/certs.d"\n'
# What is done to the shipped file, and the names under which it is found.
FAULTS = {
    "1.6": (
        (without("proxy_plugins.chunked"), {"proxy-plugin"}),
        (put("disable_snapshot_annotations = false", "discard_unpacked_layers = true"), {"cri-annotations", "discard-unpacked-layers"}),
    ),
    "1.7": (
        (put('type = "snapshot"', 'type = "content"'), {"proxy-type"}),
        (put("[proxy_plugins.chunked", "[proxy_plugins.mysoci"), {"proxy-name"}),
        (put("cs.sock", "other.sock"), {"proxy-address"}),
        (put('snapshotter = "chunked"', ""), {"cri-snapshotter"}),
        (put('/cs"', '/elsewhere"'), {"proxy-root"}),
        (put('type = "snapshot"', 'type = "snapshot"\n  capabilities = ["remap-ids"]'), {"proxy-capabilities"}),
    ),
    "2.4": (
        (without('plugins."io.containerd.transfer.v1.local"'), {"unpack-config"}),
        (put("linux/amd64", "linux/s390x"), {"unpack-platform"}),
        (put('snapshotter = "overlayfs"', 'snapshotter = "native"'), {"unpack-overlayfs"}),
        (put('enable_remote_snapshot_annotations = "true"', ""), {"proxy-annotations"}),
        (put('"remap-ids"', '"rebase"'), {"proxy-capabilities"}),
        (put("  # disable_snapshot_annotations = false", "  max_concurrent_downloads = 9"), {"cri-old-way"}),
        (lambda text: text + RUNTIME, {"registry-directories"}),
    ),
}


def checks(lab, registry):
    def node(version, name):
        return Shipped(lab, version, name="doctor-%s-%s" % (name, version))

    def clean(version):
        on = node(version, "clean")
        try:
            found = on.doctor()
            expect("found in a right set-up: %s" % found, not found)
            shown = run(BINARY, "doctor", "--config", on.path("chunked.toml"), "--root", on.root, "--address", on.ours,
                        "--containerd-address", on.socket).stdout
            expect("shown: " + shown, "a test snapshot was made and removed" in shown and " 0 wrong" in shown)
            left = on.ctr("snapshots", "--snapshotter", "chunked", "ls").stdout
            expect("left behind: " + left, "doctor" not in left)
            for number, (change, names) in enumerate(FAULTS[version]):
                file = on.write(on.written(change(on.fragment())), "fault-%d.toml" % number)
                found = on.doctor("--containerd-config", file)
                expect("fault %d, %s: %s" % (number, names, found), names <= set(found))
        finally:
            on.stop()

    def migrated():
        """containerd 2.x loses the snapshotter of a version 2 file, and 1.x what an import replaces."""
        on = node("2.4", "migrated")
        try:
            old = shipped.text("1.7").replace(shipped.SOCKET, on.ours)
            found = on.doctor("--containerd-config", on.write(on.written(old), "v2.toml"))
            expect("found %s" % found, "cri-version-2" in found)
        finally:
            on.stop()
        on = node("1.7", "imported")
        try:
            imported = on.write("version = 2\n" + on.fragment().replace("version = 2\n", ""), "chunked-import.toml")
            own = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\n  SystemdCgroup = true\n'
            found = on.doctor("--containerd-config", on.write(on.written(own, [imported]), "importing.toml"))
            expect("found %s" % found, "SystemdCgroup" in found["cri-replaced"]["finding"])
        finally:
            on.stop()

    def fixed():
        """--fix writes a file that containerd imports, and what it lacked is there."""
        on = node("2.4", "fixed")
        try:
            os.mkdir(on.path("conf.d"))
            file = on.write(on.written("version = 3\n", [on.path("conf.d/*.toml")]), "bare.toml")
            found = on.doctor("--containerd-config", file)
            expect("found %s" % found, "proxy-plugin" in found)
            arguments = [BINARY, "doctor", "--config", on.path("chunked.toml"), "--root", on.root, "--address", on.ours,
                         "--containerd-address", on.socket, "--containerd-config", file, "--fix"]
            asked = run(*arguments, check=False).stdout
            expect("not shown first: " + asked, "nothing was written" in asked and "[proxy_plugins.chunked]" in asked)
            expect("written without a word", not os.listdir(on.path("conf.d")))
            # Not in the directory that containerd imports by default, which is the machine's own.
            expect("another place: " + asked, on.path("conf.d/zz-chunked-snapshotter.toml") in asked and "/etc/containerd/conf.d/zz" not in asked)
            said = run(*arguments, "--yes", check=False).stdout
            expect("written: " + said, os.listdir(on.path("conf.d")) == ["zz-chunked-snapshotter.toml"])
            expect("what to do then: " + said, "systemctl restart containerd" in said)
            left = set(on.doctor("--containerd-config", file)) - {"cri-snapshotter", "containerd-restart"}
            expect("left: %s" % left, not left)
        finally:
            on.stop()

    def running():
        """Processes that are away, and what only containerd's has."""
        on = node("2.4", "running")
        try:
            on.containerd.stop()
            on.env = lambda: {**Node.env(on), "HTTPS_PROXY": "http://user:secret@127.0.0.1:9"}
            on.start_containerd()
            found = on.doctor()
            expect("found %s" % found, "HTTPS_PROXY" in found["proxies"]["finding"] and "secret" not in json.dumps(found))
            on.daemon.stop()
            found = on.doctor()
            expect("found %s" % found, {"daemon", "prepare"} <= set(found))
            on.containerd.stop()
            found = on.doctor()
            expect("found %s" % found, {"daemon", "containerd"} <= set(found))
            done = subprocess.run([BINARY, "doctor", "--config", "/none"], capture_output=True, text=True, timeout=60)
            expect("exit %d: %s" % (done.returncode, done.stdout), done.returncode == 1 and "configuration" in done.stdout)
        finally:
            on.stop()

    for version in ("1.6", "1.7", "2.4"):
        yield "doctor: the shipped files are right, and faults are named, containerd " + version, lambda v=version: clean(v)
    yield "doctor: what containerd loses without a word", migrated
    yield "doctor: --fix writes what is imported", fixed
    yield "doctor: processes that are away, and proxies", running
