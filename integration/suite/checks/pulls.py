"""Real pulls with real clients, on every supported line of containerd."""
import images
from lab import Failure, Node


def checks(lab, registry):
    v1 = images.push(lab, registry, "app1", images.application(1), ["zstd:chunked", "gzip", "zstd", "none"])
    v2 = images.push(lab, registry, "app2", images.application(2), ["zstd:chunked"])

    def nerdctl(version):
        node = Node(lab, version, [registry])
        try:
            for image, says in ((v1["zstd:chunked"], "version 1"), (v2["zstd:chunked"], "version 2"), (v1["gzip"], "version 1"),
                                (v1["zstd"], "version 1"), (v1["none"], "version 1")):
                node.nerdctl("pull", "-q", image.name)
                if node.layer_blobs(image):
                    raise Failure("containerd's content store holds layer blobs of " + image.name)
                out = node.says(image).stdout
                if out != "hello from %s\n" % says:
                    raise Failure("the container printed %r" % out)
                if version != "2.4":
                    # Each format has a layer store of its own to pull into.
                    node.forget(image)
            if node.staging():
                raise Failure("left in staging: %s" % node.staging())
        finally:
            node.stop()

    def ctr(version):
        node = Node(lab, version, [registry], name="ctr-" + version)
        try:
            image = v1["zstd:chunked"]
            node.ctr("images", "pull", "--plain-http", "--snapshotter", "chunked", image.name)
            # ctr of the 1.x lines fetches everything before it unpacks, and asks no remote snapshotter.
            if bool(node.layer_blobs(image)) == version.startswith("2"):
                raise Failure("layer blobs in the content store: %s" % node.layer_blobs(image))
            out = node.ctr("run", "--rm", "--snapshotter", "chunked", image.name, "c1").stdout
            if out != "hello from version 1\n":
                raise Failure("the container printed %r" % out)
        finally:
            node.stop()

    for version in ("1.6", "1.7", "2.4"):
        yield "nerdctl pulls and runs under containerd " + version, lambda v=version: nerdctl(v)
        yield "ctr pulls and runs under containerd " + version, lambda v=version: ctr(v)
