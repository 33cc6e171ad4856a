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
hosts("comments", "comments and spaces", '# a\n\n  server  =  "https://ADDRESS"  # b\n\tca = "CA" # c\n')
hosts("quotes", "literal texts", "server = 'https://ADDRESS'\nca = 'CA'\n")
hosts("capital-scheme", "`server` with HTTPS in capitals", 'server = "HTTPS://ADDRESS"\nca = "CA"\n', PULLED + ("refused",))
hosts("two-mirrors", "two mirrors, the first is away", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://127.0.0.1:1"]\n[host."http://PLAIN"]\n')
hosts("registry-away", "a mirror, and `server` is away", 'server = "https://127.0.0.1:1"\n[host."http://PLAIN"]\n')
hosts("mirror-path", "a mirror with a path that it does not have", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN/nowhere"]\n')
hosts("mirror-v2", "a mirror with the path /v2", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN/v2"]\n')
hosts("override-path", "a mirror with override_path", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN/v2"]\noverride_path = true\n')
hosts("mirror-resolve-only", "a mirror that may only resolve", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN"]\ncapabilities = ["resolve"]\n')
hosts("capabilities-empty", "a mirror whose capabilities are empty", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN"]\ncapabilities = []\n')
hosts("capabilities-unknown", "a mirror with a capability that nobody knows", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN"]\ncapabilities = ["pull", "fly"]\n',
      ("refused", "handed over"))
hosts("skip-verify-in-host", "`skip_verify` within [host]", 'server = "https://ADDRESS"\n[host."https://ADDRESS"]\nskip_verify = true\n')
hosts("skip-verify-false", "`skip_verify = false` and a CA", 'server = "https://ADDRESS"\nskip_verify = false\nca = "CA"\n')
hosts("skip-verify-text", "`skip_verify` that is a text", 'server = "https://ADDRESS"\nskip_verify = "yes"\nca = "CA"\n', ("refused", "handed over", "same"))
hosts("plain-server", "`server` with http:// at an address that is not loopback's", 'server = "http://PLAIN"\n')
hosts("header-text", "a header of one text", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://PLAIN"]\n[host."http://PLAIN".header]\nx-a = "1"\n')
hosts("server-header", "headers for the registry", 'server = "https://ADDRESS"\nca = "CA"\n[header]\nx-a = "1"\nx-b = ["2"]\n')
hosts("ca-number", "`ca` that is a number", 'server = "https://ADDRESS"\nca = 5\n', ("refused", "handed over"))
hosts("ca-twice", "`ca` with the same file twice", 'server = "https://ADDRESS"\nca = ["CA", "CA"]\n')
hosts("ca-empty-list", "`ca` that is an empty list", 'server = "https://ADDRESS"\nca = []\n', ("refused", "handed over"))
hosts("server-empty", "an empty `server`, and a [host]", 'server = ""\n[host."https://ADDRESS"]\nca = "CA"\n')
hosts("byte-order-mark", "a byte order mark", '\ufeffserver = "https://ADDRESS"\nca = "CA"\n', PULLED + ("refused",))
hosts("host-with-user", "a mirror with a user in its URL", 'server = "https://ADDRESS"\nca = "CA"\n[host."http://u:p@PLAIN"]\n', PULLED + ("refused",))
hosts("host-without-scheme", "a mirror without a scheme", 'server = "https://ADDRESS"\nca = "CA"\n[host."ADDRESS"]\nca = "CA"\n')
hosts("same-key-twice", "the same key twice", 'server = "https://ADDRESS"\nserver = "https://ADDRESS"\nca = "CA"\n', ("refused", "handed over"))
hosts("inline", "hosts as inline tables", 'server = "https://ADDRESS"\nca = "CA"\nhost = { "http://PLAIN" = { capabilities = ["pull", "resolve"] } }\n', PULLED + ("refused",))


def directory_named(name, title, of, expected=PULLED):
    """certs.d with a directory of another name than the registry's address: `of(address)`."""
    @case("certsd-directory-" + name, title, expected)
    def _():
        where = machine.scratch("pki")
        with Registry(LAN, context(*chain(where))) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            text = 'server = "https://%s"\nca = "%s/ca.crt"\n' % (registry.address, where)
            node().hosts(of(registry.address), text)
            try:
                return compare(ref, image, plain=False, hosts=True)[0]
            finally:
                shutil.rmtree(node().certs + "/" + of(registry.address))


directory_named("underscores", "certs.d/HOST_PORT_", lambda address: address.replace(":", "_") + "_")
directory_named("default", "certs.d/_default", lambda address: "_default")
directory_named("without-port", "certs.d/HOST without the port, which is not read", lambda address: address.split(":")[0], ("refused", "handed over"))


@case("certsd-relative-ca", "a `ca` beside hosts.toml, by its name alone", PULLED)
def _():
    where = machine.scratch("pki")
    with Registry(LAN, context(*chain(where))) as registry:
        image = small()
        ref = registry.add("test/app", "t", image)
        node().hosts(registry.address, 'server = "https://%s"\nca = "ca.crt"\n' % registry.address)
        shutil.copy(where + "/ca.crt", os.path.join(node().certs, registry.address))
        return compare(ref, image, plain=False, hosts=True)[0]


@case("certsd-files-without-toml", "ca.crt in certs.d/ADDRESS, without a hosts.toml", PULLED)
def _():
    where = machine.scratch("pki")
    with Registry(LAN, context(*chain(where))) as registry:
        image = small()
        ref = registry.add("test/app", "t", image)
        os.makedirs(os.path.join(node().certs, registry.address))
        shutil.copy(where + "/ca.crt", os.path.join(node().certs, registry.address))
        return compare(ref, image, plain=False, hosts=True)[0]


@case("certsd-client-in-one-file", "a client's certificate and key in one file", PULLED)
def _():
    where = machine.scratch("pki")
    server = chain(where)
    certificate, key = issued(where, "client", "ca")
    with open(where + "/both.pem", "w") as both:
        both.write(open(certificate).read() + open(key).read())
    with Registry(LAN, context(*server, where + "/ca.crt")) as registry:
        image = small()
        ref = registry.add("test/app", "t", image)
        node().hosts(registry.address, 'server = "https://%s"\nca = "%s/ca.crt"\nclient = "%s/both.pem"\n' % (registry.address, where, where))
        return compare(ref, image, plain=False, hosts=True)[0]
