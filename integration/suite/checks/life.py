"""A node's life with every client, on every line of containerd, with the configuration that is shipped."""
import os
import random

import cells
import days
import images
import shipped
from lab import REGISTRY_CONFIG, Failure, answers, free_address, wait_for


def other_registry(lab):
    """A registry that has nothing yet."""
    os.mkdir(lab.path("elsewhere"))
    address = free_address()
    config = lab.path("elsewhere.yml")
    with open(config, "w") as f:
        f.write(REGISTRY_CONFIG.format(root=lab.path("elsewhere"), address=address))
    lab.start("elsewhere", ["docker-registry", "serve", config])
    wait_for("the other registry", lambda: answers("http://%s/v2/" % address))
    return address


def checks(lab, registry):
    def push(name, layers, command, form="zstd:chunked"):
        return images.push(lab, registry, name, layers, [form], command)[form]
    image = push("life", images.application(1), ["/bin/hello", "sleep"])
    # A layer that no other image has: containerd fetches what it has not unpacked yet, and nothing else.
    own = images.tar(lambda t: images.add(t, "etc/pause", data=b"the pause image's own"))
    pause = push("life-pause", images.application(1)[:1] + [own], ["/bin/hello", "sleep"])
    noise = random.Random(15)
    # Uncompressed: that is the quickest to make.
    fillers = [push("life-filler%d" % n, [images.tar(lambda t: images.add(t, "filler", data=noise.randbytes(8 << 20)))], ["/filler"], "none")
               for n in range(9)]
    elsewhere = other_registry(lab)
    matrix = cells.Matrix()

    def day(version):
        node = shipped.Shipped(lab, version, [registry], pause.name, name="life-" + version, root=lab.disk("ext4", "100M") + "/cs")
        matrix.versions[version] = shipped.full_version(node)
        ends = []
        def row(client, play, *more):
            cell, end = matrix.row(version, client)
            play(node, image, *more, cell)
            ends.append(end)
        try:
            row("ctr", days.ctr, elsewhere)
            row("nerdctl", days.nerdctl, elsewhere)
            row("nerdctl 1.7.7", days.nerdctl_1, elsewhere)
            row("crictl", days.cri, pause, fillers)
        finally:
            node.stop()
        for end in ends:
            end()

    for version in ("1.6", "1.7", "2.4"):
        yield "every client's day on containerd " + version, lambda v=version: day(v)
    yield "docs/matrix.md says what was seen", matrix.compare
