"""Redirects, as Go's client follows them."""
import re

from lib import machine
from lib.node import short
from lib.play import Seen, case, compare, config, pull_to
from lib.registry import Registry, basic, bearer, token_server
from lib.server import Answer
from lib.tls import LAN, chain, context

from .certificates import and_command, small, trusting
from .credentials import docker_config

AS_CONTAINERD = ("same", "refused")


def redirect(name, title, status=307, location=None, hops=1, what="/blobs/", expected=AS_CONTAINERD):
    """Requests for `what` go to another registry, by so many steps. `location(other, request)` gives the last step's Location."""
    @case("redirects-" + name, title, expected)
    def _():
        with Registry() as other:
            def hook(request):
                if what not in request.path:
                    return None
                hop = int((re.search(r"hop=(\d+)", request.query) or [0, 0])[1])
                if hop + 1 < hops:
                    return Answer(status, {"Location": "%s?hop=%d" % (request.path, hop + 1)})
                return Answer(status, {"Location": location(other, request) if location else other.url + request.path})
            with Registry(hook=hook) as registry:
                image = small()
                ref = registry.add("test/app", "t", image)
                other.add("test/app", "t", image)
                return and_command(compare(ref, image)[0], ref)


for status in (301, 302, 303, 307, 308):
    redirect(str(status), "status %d" % status, status)
for status in (300, 304, 305, 306):
    redirect(str(status), "status %d, which is no redirect" % status, status, expected=("refused", "handed over"))
redirect("no-scheme", "Location: //host/path", location=lambda other, request: "//" + other.address + request.path)
redirect("fragment", "a Location with a fragment", location=lambda other, request: other.url + request.path + "#fragment")
redirect("query", "a Location with a signed query", location=lambda other, request: other.url + request.path + "?X-Sig=a%2Fb%3D&X-Date=2026&empty=")
redirect("bytes", "a Location with bytes >= 0x80", location=lambda other, request: other.url + request.path + "?name=caf\xe9")
redirect("spaces", "a Location with a space", location=lambda other, request: other.url + request.path + "?name=a b")
redirect("brackets", "a Location with characters that belong escaped", location=lambda other, request: other.url + request.path + '?q=[a]|{b}^"c"')
redirect("percent", "a Location with a percent sign that escapes nothing", location=lambda other, request: other.url + request.path + "?q=100%")
redirect("user", "a Location with a user", location=lambda other, request: "http://user:pass@" + other.address + request.path)
redirect("capital-scheme", "a Location HTTP://", location=lambda other, request: "HTTP://" + other.address + request.path)
redirect("dots", "a Location with /../", location=lambda other, request: other.url + "/v2/x/.." + request.path[3:])
redirect("trailing-space", "a Location with a space behind it", location=lambda other, request: other.url + request.path + " ")
redirect("ftp", "a Location ftp://", location=lambda other, request: "ftp://" + other.address + request.path, expected=("refused", "handed over"))
redirect("empty", "an empty Location", location=lambda other, request: "", expected=("refused", "handed over"))
for hops in (2, 9, 10):
    redirect("hops-%d" % hops, "%d redirects" % hops, hops=hops)
redirect("hops-11", "eleven redirects, more than Go follows", hops=11, expected=("refused", "handed over"))
redirect("endless", "redirects without an end", hops=10**6, expected=("refused", "handed over"))
redirect("manifests", "manifests are redirected, too (Nexus, Quay)", what="/manifests/")
redirect("everything", "everything is redirected", what="/v2/")


@case("redirects-tls-to-plain", "a TLS registry redirects blobs to plain HTTP", ("same", "handed over"))
def _():
    where = machine.scratch("pki")
    with Registry() as other:
        hook = lambda request: Answer(307, {"Location": other.url + request.path + "?X-Signature=abc"}) if "/blobs/" in request.path else None
        with Registry(LAN, context(*chain(where)), hook) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            other.add("test/app", "t", image)
            trusting(registry.address, where + "/ca.crt")
            return compare(ref, image, plain=False, hosts=True)[0]


@case("redirects-plain-realm", "a TLS registry whose token server has no TLS", ("same", "handed over"))
def _():
    where = machine.scratch("pki")
    with token_server(lambda scopes, request: {"token": "T"}, LAN) as tokens, \
            Registry(LAN, context(*chain(where)), bearer(tokens.url + "/token")) as registry:
        image = small()
        trusting(registry.address, where + "/ca.crt")
        return compare(registry.add("test/app", "t", image), image, plain=False, hosts=True)[0]


@case("redirects-no-credentials", "no credential goes with a redirect to another host", "ok")
def _():
    where = machine.scratch("docker")
    with Registry() as other:
        hook = lambda request: basic(request) or (Answer(307, {"Location": other.url + request.path}) if "/blobs/" in request.path else None)
        with Registry(hook=hook) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            other.add("test/app", "t", image)
            docker_config(where, registry.address)
            done, _ = pull_to(ref, config('[registry]\ndocker_config = "%s"\n' % where))
            told = [entry for entry in other.log if entry[2]]
            if done.code or told or not other.log:
                return Seen("wrong", "%s; %d requests to the other host, with a credential: %s" % (short(done.error), len(other.log), told[:2]))
            return Seen("ok")
