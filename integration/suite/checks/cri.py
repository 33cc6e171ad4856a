"""The kubelet's way: pulls with the labels that CRI gives to a remote snapshotter, and pods that run on them."""
import json
import os

import images
from lab import Failure, Node, wait_for

NODE_NETWORK = 2


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

    for version in ("1.6", "1.7", "2.4"):
        yield "a pod runs through CRI of containerd " + version, lambda v=version: pod(v)
