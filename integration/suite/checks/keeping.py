"""`[store] keep_blobs`: what is read whole is in containerd's content store afterwards, for push, export and peers."""

import images
from lab import Failure, Node, run, wait_for


def expect(what, condition):
    if not condition:
        raise Failure(what)


def checks(lab, registry):
    pushed = images.push(lab, registry, "kept", images.application(1), ["gzip", "zstd:chunked"])
    address, ask = lab.proxy(registry)
    gzip, chunked = (pushed[format].through(address) for format in ("gzip", "zstd:chunked"))

    def kept(version):
        node = Node(lab, version, [address], name="kept-" + version, store='unused_grace = "0s"\nunused_bytes = "0B"\nkeep_blobs = "whole"\n')
        try:
            ask("/reset")
            node.nerdctl("pull", "-q", gzip.name)
            # Pulled by us, once.
            fetched = [request["path"].rsplit("/", 1)[1] for request in ask("/log") if request["method"] == "GET" and "/blobs/" in request["path"]]
            expect("fetched: %s" % fetched, all(fetched.count(layer) == 1 for layer in gzip.layers))
            wait_for("the blobs in containerd's content store", lambda: set(node.layer_blobs(gzip)) == set(gzip.layers), 5)
            expect("a lease is left: " + node.ctr("leases", "ls").stdout, "chunked-" not in node.ctr("leases", "ls").stdout)
            archive = node.path("export.tar")
            node.ctr("images", "export", archive, gzip.name)
            names = run("tar", "-tf", archive).stdout
            expect("the archive lacks layers", all(layer.split(":")[1] in names for layer in gzip.layers))
            again = "%s/test/kept-again:v1" % registry
            node.ctr("images", "tag", gzip.name, again)
            node.ctr("images", "push", "--plain-http", again)
            node.nerdctl("pull", "-q", chunked.name)
            expect("a layer that came by ranges is in the content store", not node.layer_blobs(chunked))
            for name in (gzip.name, again):
                node.ctr("images", "rm", "--sync", name)
            wait_for("the blobs to go with their image", lambda: not node.layer_blobs(gzip))
        finally:
            node.stop()

    def not_kept():
        node = Node(lab, "2.4", [address], name="kept-never")
        try:
            node.nerdctl("pull", "-q", gzip.name)
            expect("blobs in the content store: %s" % node.layer_blobs(gzip), not node.layer_blobs(gzip))
        finally:
            node.stop()

    for version in ("1.6", "1.7", "2.4"):
        yield "blobs that came whole are kept on containerd %s, and go with their image" % version, lambda v=version: kept(v)
    yield "no blob is kept unless that is asked for", not_kept
