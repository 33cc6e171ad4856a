"""What only containerd's client knows (a password, plain HTTP, that any certificate will do): the pull is handed over, at once."""
import base64
import json

from lib import machine
from lib.node import CONTROL, OURS, Node, short
from lib.play import Seen, blame, case, compare, config, node, pull_to
from lib.registry import BASIC, Registry, basic, bearer, error, token_server
from lib.server import Answer
from lib.tls import LAN, chain, context

from .certificates import small, trusting

HANDED = "handed over"


def docker_config(where, address):
    """Writes a docker configuration with the one user's password for this registry."""
    with open(where + "/config.json", "w") as f:
        json.dump({"auths": {address: {"auth": base64.b64encode(b"u:p").decode()}}}, f)


def of_clients(image, mine, control, holds, warnings=""):
    """The outcome of two pulls by a client other than ctr."""
    if not mine:
        return blame(Seen("refused" if not control else "wrong", "ours: %s | overlayfs: %s" % (short(mine.text), short(control.text))), [mine.text])
    return Seen(HANDED if holds else "same", warnings)


@case("credentials-ctr-user", "ctr --user, plain HTTP, at an address that is not loopback", HANDED)
def _():
    with Registry(LAN, hook=basic) as registry:
        image = small()
        return compare(registry.add("test/app", "t", image), image, more=("--user", "u:p"))[0]


@case("credentials-ctr-user-tls", "ctr --user at a TLS registry whose CA both know", HANDED)
def _():
    where = machine.scratch("pki")
    with Registry(LAN, context(*chain(where)), basic) as registry:
        image = small()
        trusting(registry.address, where + "/ca.crt")
        return compare(registry.add("test/app", "t", image), image, plain=False, hosts=True, more=("--user", "u:p"))[0]


@case("credentials-ctr-user-token", "ctr --user at a registry with a token server", HANDED)
def _():
    give = lambda scopes, request: {"token": "T"} if request.headers.get("Authorization") == BASIC else Answer(401)
    with token_server(give) as tokens, Registry(hook=bearer(tokens.url + "/token")) as registry:
        image = small()
        return compare(registry.add("test/app", "t", image), image, more=("--user", "u:p"))[0]


@case("credentials-several-layers", "ctr --user, six layers: all are handed over", HANDED)
def _():
    with Registry(hook=basic) as registry:
        image = small(6)
        return compare(registry.add("test/app", "t", image), image, more=("--user", "u:p"))[0]


@case("credentials-wrong", "a wrong password: both refuse", "refused")
def _():
    with Registry(hook=basic) as registry:
        image = small()
        return compare(registry.add("test/app", "t", image), image, more=("--user", "u:wrong"))[0]


def refusing(name, title, status, header=None):
    """A registry that refuses our client only: a firewall, a rule for user agents, a quota."""
    @case("credentials-refused-" + name, title, HANDED)
    def _():
        def hook(request):
            if (request.headers.get("User-Agent") or "").startswith("chunked-snapshotter"):
                return error(status, "DENIED", header)
        with Registry(hook=hook) as registry:
            image = small(3)
            seen, _, _ = compare(registry.add("test/app", "t", image), image)
            return seen


for status in (400, 401, 403, 404, 405, 406, 410, 418, 451):
    refusing(str(status), "the registry answers our requests with %d, containerd's well" % status, status)
refusing("challenge", "the registry wants a scheme of us that nobody knows", 401, {"WWW-Authenticate": "Negotiate"})


@case("credentials-docker-config", "the daemon's own docker configuration has the password")
def _():
    where = machine.scratch("docker")
    with Registry(hook=basic) as registry:
        docker_config(where, registry.address)
        ref = registry.add("test/app", "t", small())
        done, _ = pull_to(ref, config('[registry]\ndocker_config = "%s"\n' % where))
        return Seen("wrong" if done.code else "same", short(done.error))


@case("credentials-crictl", "crictl pull --creds, containerd 2.4", HANDED)
def _():
    at = Node(cri="")
    try:
        with Registry(hook=basic) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            at.hosts(registry.address, 'server = "%s"\n' % registry.url)
            mine = at.crictl_pull(ref, "--creds", "u:p")
            control = at.pull(ref, CONTROL, more=("--user", "u:p"))
            return of_clients(image, mine, control, at.holds(image.layers[0], "k8s.io"))
    finally:
        at.stop()


@case("credentials-cri-section", "the password is in the CRI section of containerd 1.7, crictl pull", HANDED)
def _():
    with Registry(hook=basic) as registry:
        image, found = small(), {}
        ref = registry.add("test/app", "t", image)
        section = '[plugins."io.containerd.grpc.v1.cri".registry.configs."%s".auth]\n  username = "u"\n  password = "p"\n' % registry.address
        for snapshotter in (OURS, CONTROL):
            at = Node("1.7", default_paths=True, snapshotter=snapshotter, cri=section)
            found[snapshotter] = at.crictl_pull(ref), at.holds(image.layers[0], "k8s.io")
            at.stop()
        return of_clients(image, found[OURS][0], found[CONTROL][0], found[OURS][1])


def by_nerdctl(name, title, version="2.4", tls=False, hook=None, password=False, expected=HANDED, host=LAN):
    @case("credentials-nerdctl-" + name, title, expected)
    def _():
        at = node(version)
        where = machine.scratch("client")
        with Registry(host, context(*chain(where)) if tls else None, hook) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            if password:
                docker_config(where, registry.address)
            env = {"DOCKER_CONFIG": where} if password else None
            mine = at.nerdctl_pull(ref, env=env)
            control = at.nerdctl_pull(ref, CONTROL, env=env)
            seen = of_clients(image, mine, control, at.holds(image.layers[0], "nerdctl-" + OURS))
            seen.text += " %.1f s, overlayfs %.1f s" % (mine.seconds, control.seconds)
            return Seen("wrong", seen.text) if mine.seconds > control.seconds + 3 else seen


by_nerdctl("login", "nerdctl login of a user", hook=basic, password=True, host="127.0.0.1")
by_nerdctl("insecure", "nerdctl --insecure-registry, no TLS, an address that is not loopback", expected=(HANDED, "same"))
by_nerdctl("insecure-tls", "nerdctl --insecure-registry, TLS with an unknown CA", tls=True)
by_nerdctl("insecure-1.7", "containerd 1.7: nerdctl --insecure-registry, no TLS", version="1.7", expected=(HANDED, "same"))
by_nerdctl("insecure-tls-1.7", "containerd 1.7: nerdctl --insecure-registry, TLS with an unknown CA", version="1.7", tls=True)


def by_ctr(name, title, version="2.4", tls=False, layers=1, expected=HANDED):
    @case("credentials-ctr-" + name, title, expected)
    def _():
        with Registry(LAN, context(*chain(machine.scratch("pki"))) if tls else None) as registry:
            image = small(layers)
            ref = registry.add("test/app", "t", image)
            return compare(ref, image, at=node(version), plain=not tls, more=("-k",) + (("--local",) if version[0] == "2" else ()) if tls else ())[0]


by_ctr("plain", "ctr --plain-http, an address that is not loopback", expected=(HANDED, "same"))
by_ctr("plain-1.7", "the same, containerd 1.7", "1.7", expected=(HANDED, "same"))
by_ctr("plain-1.6", "the same, containerd 1.6", "1.6", expected=(HANDED, "same"))
by_ctr("insecure", "ctr -k, TLS with an unknown CA", tls=True)
by_ctr("insecure-1.7", "the same, containerd 1.7", "1.7", tls=True)


@case("credentials-registry-away", "the registry goes away behind the manifest, the blobs are in containerd's store already", "same")
def _():
    at = node()
    with Registry() as registry:
        image = small(2)
        ref = registry.add("test/app", "t", image)
        fetched = at.client(OURS, "content", "fetch", "--plain-http", ref)
        if fetched.returncode:
            return Seen("wrong", "ctr content fetch: " + fetched.stderr[-200:])
        registry.hook = lambda request: Answer(404) if request.path.split("/")[-1] in image.layers else None
        mark = len(registry.log)
        mine = at.pull(ref)
        asked = [path for method, path, *_ in registry.log[mark:] if path.split("/")[-1] in image.layers and method == "GET"]
        if not mine:
            return Seen("wrong", "the pull fails: " + short(mine.text))
        at.tree(ref)
        return Seen("wrong" if asked else "same", "%d requests for layers" % len(asked))
