"""certs.d in every place and form in which containerd and docker read it."""
import os
import shutil

from lib import machine
from lib.node import CONTROL, OURS, Node
from lib.play import case, compare, node, shared
from lib.registry import Registry
from lib.tls import LAN, chain, context, issued

from .certificates import small
from .credentials import of_clients

PULLED = ("same", "handed over")


def default_node():
    return shared("default paths", lambda: Node(default_paths=True))


def docker_files(where, address, client=False):
    """/etc/docker/certs.d/ADDRESS with a CA, and a client's certificate."""
    target = "/etc/docker/certs.d/" + address
    os.makedirs(target)
    shutil.copy(where + "/ca.crt", target + "/ca.crt")
    if client:
        issued(where, "client", "ca")
        shutil.copy(where + "/client.crt", target + "/client.cert")
        shutil.copy(where + "/client.key", target + "/client.key")


def by_nerdctl(name, title, client, expected):
    @case("certsd-docker-nerdctl-" + name, title, expected)
    def _():
        where = machine.scratch("pki")
        with Registry(LAN, context(*chain(where), where + "/ca.crt" if client else None)) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            docker_files(where, registry.address, client)
            at = default_node()
            mine, control = at.nerdctl_pull(ref, insecure=False), at.nerdctl_pull(ref, CONTROL, insecure=False)
            return of_clients(image, mine, control, at.holds(image.layers[0], "nerdctl-" + OURS))


by_nerdctl("ca", "a CA in /etc/docker/certs.d, nerdctl pull (which does not look there)", False, PULLED + ("refused",))
by_nerdctl("client", "a CA and a client's certificate in /etc/docker/certs.d, nerdctl pull (the same)", True, PULLED + ("refused",))


@case("certsd-docker-ctr", "a CA in /etc/docker/certs.d, ctr --hosts-dir", PULLED)
def _():
    where = machine.scratch("pki")
    with Registry(LAN, context(*chain(where))) as registry:
        image = small()
        docker_files(where, registry.address)
        return compare(registry.add("test/app", "t", image), image, at=default_node(), plain=False, more=("--hosts-dir", "/etc/docker/certs.d"))[0]


@case("certsd-docker-crictl", "a CA in /etc/docker/certs.d, crictl pull", PULLED)
def _():
    where = machine.scratch("pki")
    with Registry(LAN, context(*chain(where))) as registry:
        image, found = small(), {}
        ref = registry.add("test/app", "t", image)
        docker_files(where, registry.address)
        for snapshotter in (OURS, CONTROL):
            at = Node(default_paths=True, snapshotter=snapshotter, cri="  use_local_image_pull = true\n")
            found[snapshotter] = at.crictl_pull(ref), at.holds(image.layers[0], "k8s.io")
            at.stop()
        return of_clients(image, found[OURS][0], found[CONTROL][0], found[OURS][1])


def hosts(name, title, text, expected=PULLED):
    """A registry whose hosts.toml is this; ADDRESS, CA and PLAIN (the same registry without TLS) stand for what they say."""
    @case("certsd-hosts-" + name, title, expected)
    def _():
        where = machine.scratch("pki")
        with Registry(LAN, context(*chain(where))) as registry, Registry() as plain:
            image = small()
            ref = registry.add("test/app", "t", image)
            plain.add("test/app", "t", image)
            filled = text.replace("ADDRESS", registry.address).replace("CA", where + "/ca.crt").replace("PLAIN", plain.address)
            node().hosts(registry.address, filled)
            return compare(ref, image, plain=False, hosts=True)[0]


hosts("list", "`ca` as a list", 'server = "https://ADDRESS"\nca = ["CA"]\n')
hosts("in-host", "`ca` within [host]", 'server = "https://ADDRESS"\n[host."https://ADDRESS"]\nca = "CA"\ncapabilities = ["pull", "resolve"]\n')
hosts("no-server", "only a [host], without `server`", '[host."https://ADDRESS"]\nca = "CA"\n')
hosts("no-scheme", "`server` without a scheme", 'server = "ADDRESS"\nca = "CA"\n')
hosts("path", "`server` with a path /v2", 'server = "https://ADDRESS/v2"\nca = "CA"\n')
hosts("slash", "`server` with a slash at the end", 'server = "https://ADDRESS/"\nca = "CA"\n')
hosts("mirror", "a mirror without TLS before the registry", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN"]\ncapabilities = ["pull", "resolve"]\n')
hosts("mirror-pull-only", "a mirror that may only pull", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN"]\ncapabilities = ["pull"]\n')
hosts("mirror-dead", "a mirror that is away", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://127.0.0.1:1"]\ncapabilities = ["pull", "resolve"]\n')
hosts("no-capabilities", "a mirror without `capabilities`", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN"]\n')
hosts("unknown-keys", "keys that nobody knows", 'server = "https://ADDRESS"\nca = "CA"\nunknown = 5\n[host."http://PLAIN"]\nalso = "x"\ncapabilities = ["pull", "resolve"]\n')
hosts("header", "a header for the mirror", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN"]\ncapabilities = ["pull", "resolve"]\n[host."http://PLAIN".header]\nx-a = ["1", "2"]\n')
hosts("dial-timeout", "a time-out for dialling", 'server = "https://ADDRESS"\nca = "CA"\ndial_timeout = "3s"\n', ("same", "handed over", "refused"))
hosts("broken", "a file that is not TOML", 'server = \n', ("refused", "handed over"))
hosts("ca-missing", "a `ca` that is not there", 'server = "https://ADDRESS"\nca = "/nowhere/ca.crt"\n', ("refused", "handed over"))
hosts("empty", "an empty file", "", ("refused", "handed over"))
