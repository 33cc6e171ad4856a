"""The merged tree through our mounts equals the one of containerd's overlayfs snapshotter, entry by entry."""
import images
import trees
from lab import Failure, Node


def checks(lab, registry):
    odd, expressible = images.odd_layers(False), images.odd_layers(True)
    pushed = [(image, odd) for image in images.push(lab, registry, "odd", odd, ["gzip", "zstd", "none"]).values()]
    formats = ["gzip", "zstd", "zstd:chunked"]
    pushed += [(image, expressible) for image in images.push(lab, registry, "odd-chunked", expressible, formats).values()]
    plain = images.application(1)
    pushed += [(image, plain) for image in images.push(lab, registry, "tree-app", plain, ["zstd:chunked"]).values()]

    def compare(version, image, layers):
        node = Node(lab, version, [registry], name="tree")
        try:
            for snapshotter in ("overlayfs", "chunked"):
                node.nerdctl("pull", "-q", image.name, snapshotter=snapshotter)
            unmount = [node.mounted(image, s, node.path("view-" + s)) for s in ("overlayfs", "chunked")]
            lines, entries = trees.differences(node.path("view-overlayfs"), node.path("view-chunked"),
                                               images.implied_directories(layers))
            for undo in unmount:
                undo()
            if lines:
                raise Failure("%d of %d entries differ:\n%s" % (len(lines), entries, "\n".join(lines[:20])))
            if entries < 10:
                raise Failure("only %d entries: nothing was compared" % entries)
        finally:
            node.stop()

    for image, layers in pushed:
        name = image.repository.split("/")[-1]
        yield "tree of %s in %s equals overlayfs'" % (name, image.tag), lambda i=image, l=layers: compare("2.4", i, l)
    image, layers = pushed[-2]
    for version in ("1.6", "1.7"):
        yield "tree of odd-chunked under containerd " + version, lambda v=version: compare(v, image, layers)
