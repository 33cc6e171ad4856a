"""The kubelet's way: pulls with the labels that CRI gives to a remote snapshotter, and pods that run on them."""
import json
import os
import re
import time

import images
import servers
from checks import prepull
from lab import TOOLS, Failure, Node, run, wait_for

NODE_NETWORK = 2


class Proxied(prepull.Daemon):
    """A node whose kubelet speaks to our socket."""

    def through(self, *arguments, check=True):
        return self.crictl_at(self.ours, *arguments, check=check)

    def directly(self, *arguments, check=True):
        return self.crictl_at(self.socket, *arguments, check=check)

    def crictl_at(self, socket, *arguments, check):
        address = "unix://" + socket
        return run(os.path.join(TOOLS, "crictl"), "-r", address, "-i", address, "-t", "60s", *arguments, check=check)


def checks(lab, registry):
    v1 = images.push(lab, registry, "cri1", images.application(1), ["zstd:chunked"])["zstd:chunked"]
    v2 = images.push(lab, registry, "cri2", images.application(2), ["zstd:chunked"])["zstd:chunked"]
    pause = images.push(lab, registry, "pause", images.application(1)[:1], ["gzip"], ["/bin/hello", "sleep"])["gzip"]

    def write(node, name, what):
        path = node.path(name)
        with open(path, "w") as f:
            json.dump(what, f)
        return path

    def pod(version):
        node = Node(lab, version, [registry], name="cri-" + version, pause=pause.name)
        sandbox = None
        try:
            for image in (v1, v2):
                node.crictl("pull", image.name)
            held = node.ctr("-n", "k8s.io", "content", "ls", "-q").stdout.split()
            if set(held) & set(v1.layers + v2.layers):
                raise Failure("layer blobs in containerd's content store")
            config = write(node, "pod.json", {
                "metadata": {"name": "pod", "namespace": "default", "uid": "pod-" + version}, "log_directory": node.path("logs"),
                "linux": {"security_context": {"namespace_options": {"network": NODE_NETWORK}}}})
            container = write(node, "container.json", {
                "metadata": {"name": "app"}, "image": {"image": v2.name}, "log_path": "app.log", "linux": {}})
            sandbox = node.crictl("runp", config).stdout.strip()
            node.crictl("start", node.crictl("create", sandbox, container, config).stdout.strip())
            log = os.path.join(node.path("logs"), "app.log")
            wait_for("the pod to print", lambda: os.path.exists(log) and "hello from version 2" in open(log).read())
            # From Usage of every snapshot, collected once a second here.
            wait_for("the kubelet to see what images take on disk", lambda: any(
                int(entry["usedBytes"]["value"]) > sum(layer["size"] for layer in v1.manifest["layers"])
                for entry in json.loads(node.crictl("imagefsinfo").stdout)["status"]["imageFilesystems"]))
        finally:
            if sandbox:
                node.crictl("rmp", "-f", sandbox)
            node.stop()

    def proxied(version):
        passwords = lab.path("cri-htpasswd-" + version)
        servers.htpasswd(passwords, prepull.USER, prepull.PASSWORD)
        basic = servers.registry(lab, "cri-basic-" + version, auth={"htpasswd": {"realm": "tests", "path": passwords}})
        at = lambda image: "%s/%s:%s" % (basic, image.repository, image.tag)
        credentials = "%s:%s" % (prepull.USER, prepull.PASSWORD)
        tokens = servers.TokenServer(servers.Authority(lab.path("cri-ca-" + version)), prepull.USER, prepull.PASSWORD)
        bearer = servers.registry(lab, "cri-bearer-" + version, auth=tokens.auth)
        node = Proxied(lab, version, [registry, basic, bearer], name="cri-proxy-" + version, pause=pause.name, settings="[cri]\nenabled = true\n")
        sandbox = None
        def gone(pod):
            # containerd 1.6 now and then asks the shim of a container that has just ended: "ttrpc: closed".
            wait_for("the pod to go", lambda: node.through("rmp", "-f", pod, check=False).returncode == 0)
        def same_error(*arguments):
            ours, theirs = (re.findall(r"rpc error: .*", call(*arguments, check=False).stderr) for call in (node.through, node.directly))
            if not ours or ours != theirs:
                raise Failure("%s: %s through us, %s by containerd" % (arguments, ours, theirs))
        try:
            same_error("pull", v1.name + "-absent")
            same_error("pull", at(v1))
            same_error("pull", "--creds", prepull.USER + ":wrong", at(v1))
            same_error("inspectp", "absent")
            node.through("pull", "--creds", credentials, at(v2))
            node.through("pull", "--creds", credentials, "%s/%s:%s" % (bearer, v1.repository, v1.tag))
            held = node.ctr("-n", "k8s.io", "content", "ls", "-q").stdout.split()
            if set(held) & set(v1.layers + v2.layers):
                raise Failure("layer blobs in containerd's content store")
            if '"by":"CRI"' not in node.daemon.text():
                raise Failure("we have pulled nothing")
            for call in (("images", "-o", "json"), ("version",)):
                ours, theirs = node.through(*call).stdout, node.directly(*call).stdout
                if ours != theirs or not ours:
                    raise Failure("%s: %s through us, %s by containerd" % (call, ours, theirs))
            if not json.loads(node.through("imagefsinfo").stdout)["status"]["imageFilesystems"]:
                raise Failure("no image file systems")
            config = write(node, "pod.json", {
                "metadata": {"name": "pod", "namespace": "default", "uid": "proxy-" + version}, "log_directory": node.path("logs"),
                "linux": {"security_context": {"namespace_options": {"network": NODE_NETWORK}}}})
            container = write(node, "container.json", {
                "metadata": {"name": "app"}, "image": {"image": at(v2)}, "log_path": "app.log", "linux": {}})
            if version != "1.6":  # it has no such call
                address = "unix://" + node.ours
                events = lab.start("events-" + version, [os.path.join(TOOLS, "crictl"), "-r", address, "-i", address, "events"])
                time.sleep(1)
            sandbox = node.through("runp", config).stdout.strip()
            node.through("start", node.through("create", sandbox, container, config).stdout.strip())
            log = os.path.join(node.path("logs"), "app.log")
            wait_for("the pod to print", lambda: os.path.exists(log) and "hello from version 2" in open(log).read())
            if version != "1.6":
                wait_for("a stream of events", lambda: "CONTAINER_STARTED_EVENT" in events.text())
                events.stop()
            gone(sandbox)
            sandbox = None
            node.through("rmi", at(v2))
            if at(v2) in node.directly("images").stdout:
                raise Failure("the image is still there")
            words = prepull.spellings(prepull.PASSWORD) + tokens.given
            if not tokens.given:
                raise Failure("no token was asked for")
            if any(word in node.daemon.text() for word in words):
                raise Failure("a secret in the log")
            wait_for("the memory to be clean", lambda: not node.secrets_in_memory(words), 10)
        finally:
            if sandbox:
                gone(sandbox)
            node.stop()
            tokens.server.close()

    for version in ("1.6", "1.7", "2.4"):
        yield "crictl through our socket to containerd " + version + ", with credentials", lambda v=version: proxied(v)
    for version in ("1.6", "1.7", "2.4"):
        yield "a pod runs through CRI of containerd " + version, lambda v=version: pod(v)
