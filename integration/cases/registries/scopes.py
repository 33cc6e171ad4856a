"""Scopes: a token is asked for with what the challenge says, as containerd does it."""
import itertools
import re

from lib.node import short
from lib.play import Seen, case, compare, node
from lib.registry import JSON, Registry, error, token_server, wanted_scope
from lib.server import Answer

from .certificates import and_command, small

AS_CONTAINERD = ("same", "refused")
_tokens = itertools.count(1)


class Guard:
    """Token server and registry that agree on who may: a token is good for the scopes it was asked for with."""

    def __init__(self, strict=False, challenge=None, accepts=None, others=()):
        self.issued, self.strict, self.challenge, self.accepts, self.others = {}, strict, challenge, accepts, others

    def give(self, scopes, request):
        if self.strict and any(not scope.startswith("repository:proxy/") for scope in " ".join(scopes).split()):
            return Answer(403, JSON, b'{"errors":[{"code":"DENIED"}]}')
        token = "T%d" % next(_tokens)
        self.issued[token] = " ".join(scopes).split()
        return {"token": token}

    def hook(self, realm):
        def check(request):
            wanted = wanted_scope(request)
            token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
            if not wanted or token in self.issued and self.good(self.issued[token], wanted):
                return None
            challenge = wanted if self.challenge is None else self.challenge
            text = 'Bearer realm="%s/token",service="m"' % realm + (',scope="%s"' % challenge if challenge else "")
            return error(401, "UNAUTHORIZED", {"WWW-Authenticate": ", ".join([*self.others, text])})
        return check

    def good(self, scopes, wanted):
        return self.accepts(scopes) if self.accepts else any(scope.rsplit(":", 1)[0] == wanted.rsplit(":", 1)[0] for scope in scopes)


def scopes(name, title, mirror=True, expected=AS_CONTAINERD, **guard):
    """With `mirror`, the registry is a mirror below a path of another name, and what it stands for is away."""
    @case("scopes-" + name, title, expected)
    def _():
        guarding = Guard(**guard)
        with token_server(guarding.give) as tokens, Registry(hook=guarding.hook(tokens.url), prefix="/proxy" if mirror else "") as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            if mirror:
                ref = "127.0.0.1:1/test/app:t"
                node().hosts("127.0.0.1:1", 'server = "http://127.0.0.1:1"\n[host."%s/v2/proxy"]\noverride_path = true\n'
                             'capabilities = ["pull", "resolve"]\n' % registry.url)
            seen = and_command(compare(ref, image, hosts=True)[0], ref)
            asked = sorted({re.sub(r".*?scope=", "", path) for _, path, *_ in tokens.log})
            return Seen(seen.outcome, seen.text + " [asked for: %s]" % short(" ".join(asked)), seen.controls)


HAS = lambda word: lambda given: any(word in scope for scope in given)
scopes("mirror", "a mirror below a path; the token server gives what is asked for")
scopes("mirror-strict", "the same; scopes of other repositories are refused", strict=True)
scopes("mirror-without-scope", "a mirror below a path, a challenge without a scope", challenge="")
scopes("aws", "scope `aws`, which is no repository (public ECR)", mirror=False, challenge="aws", accepts=HAS("aws"))
scopes("pull-push", "a challenge for pull,push", mirror=False, challenge="repository:test/app:pull,push", accepts=HAS("push"))
scopes("star", "a challenge for all actions", mirror=False, challenge="repository:test/app:*", accepts=HAS("*"))
scopes("plugin", "a scope of another type: repository(plugin)", mirror=False, challenge="repository(plugin):test/app:pull", accepts=HAS("plugin"))
scopes("other-repository", "a challenge that names another repository", mirror=False, challenge="repository:library/app:pull", accepts=HAS("library/app"))
scopes("two", "a challenge with two scopes, both wanted", mirror=False, challenge="repository:test/app:pull repository:test/base:pull",
       accepts=lambda given: len(given) >= 2 and any("base" in scope for scope in given))
scopes("registry-catalog", "a scope of type registry", mirror=False, challenge="registry:catalog:*", accepts=HAS("catalog"))
scopes("none", "a challenge without a scope", mirror=False, challenge="", accepts=lambda given: True)
scopes("basic-first", "Basic, then Bearer in one header", mirror=False, others=['Basic realm="r"'], accepts=lambda given: True)
scopes("unknown-first", "a scheme that nobody knows, then Bearer", mirror=False, others=['Negotiate'], accepts=lambda given: True)
scopes("with-port", "a repository with a port in its scope", mirror=False, challenge="repository:localhost:5000/test/app:pull", accepts=HAS("5000"))


def challenge(name, title, text):
    """Any text of a challenge; `REALM` stands for the token server."""
    @case("scopes-challenge-" + name, title, AS_CONTAINERD)
    def _():
        with token_server(lambda asked, request: {"token": "T"}) as tokens:
            def hook(request):
                if request.headers.get("Authorization") == "Bearer T":
                    return None
                return error(401, "UNAUTHORIZED", {"WWW-Authenticate": text.replace("REALM", tokens.url + "/token")})
            with Registry(hook=hook) as registry:
                image = small()
                ref = registry.add("test/app", "t", image)
                return and_command(compare(ref, image)[0], ref)


challenge("spaces", "spaces around the commas", 'Bearer realm="REALM" , service="s" , scope="repository:test/app:pull"')
challenge("capital", "BEARER and REALM in capitals", 'BEARER Realm="REALM",Service="s"')
challenge("no-quotes", "values without quotes", "Bearer realm=REALM,service=s")
challenge("escaped", "an escaped quote in the service", 'Bearer realm="REALM",service="a \\"b\\""')
challenge("order", "scope before realm", 'Bearer scope="repository:test/app:pull",service="s",realm="REALM"')
challenge("query", "a realm with a query", 'Bearer realm="REALM?account=x",service="s"')
challenge("error", "with error=insufficient_scope", 'Bearer realm="REALM",service="s",error="insufficient_scope"')
challenge("no-service", "without a service", 'Bearer realm="REALM"')
challenge("commas", "a comma within quotes", 'Bearer realm="REALM",service="a,b",scope="repository:test/app:pull,push"')
challenge("no-realm", "without a realm", 'Bearer service="s"')
challenge("relative-realm", "a realm that is a path", 'Bearer realm="/token",service="s"')
challenge("tab", "a tab behind the scheme", 'Bearer\trealm="REALM",service="s"')
challenge("single-quotes", "values in single quotes", "Bearer realm='REALM',service='s'")
challenge("empty-scope", "an empty scope", 'Bearer realm="REALM",service="s",scope=""')
challenge("empty-service", "an empty service", 'Bearer realm="REALM",service=""')
challenge("unknown-parameter", "a parameter that nobody knows", 'Bearer realm="REALM",service="s",x="y"')
challenge("trailing-comma", "a comma at the end", 'Bearer realm="REALM",service="s",')
challenge("double-comma", "two commas in a row", 'Bearer realm="REALM",,service="s"')
challenge("no-commas", "parameters without commas", 'Bearer realm="REALM" service="s"')
challenge("spaces-at-equals", "spaces around the equals signs", 'Bearer realm = "REALM", service = "s"')
challenge("realm-twice", "the realm twice", 'Bearer realm="REALM",realm="http://127.0.0.1:1/",service="s"')
challenge("open-quote", "a quote that is never closed", 'Bearer service="s",realm="REALM')
challenge("basic-behind", "Bearer, then Basic in one header", 'Bearer realm="REALM",service="s", Basic realm="r"')
challenge("digest-first", "Digest, then Bearer in one header", 'Digest realm="d", nonce="n", Bearer realm="REALM",service="s"')
challenge("bearer-only", "Bearer and nothing else", "Bearer")
challenge("empty", "an empty header", "")
challenge("bytes", "a service with bytes >= 0x80", 'Bearer realm="REALM",service="caf\xe9"')
challenge("long-scope", "a scope of 3000 bytes", 'Bearer realm="REALM",service="s",scope="repository:test/%s:pull"' % ("a" * 3000))
challenge("many-scopes", "twenty scopes", 'Bearer realm="REALM",service="s",scope="%s"' % " ".join("repository:test/app%d:pull" % n for n in range(20)))
challenge("token68", "a scheme with a token68, then Bearer", 'Negotiate YWJj==, Bearer realm="REALM",service="s"')


@case("scopes-challenge-two-headers", "Basic and Bearer in two headers", AS_CONTAINERD)
def _():
    return two_headers('Basic realm="r"', 'Bearer realm="REALM",service="s"')


@case("scopes-challenge-two-headers-behind", "Bearer and Basic in two headers", AS_CONTAINERD)
def _():
    return two_headers('Bearer realm="REALM",service="s"', 'Basic realm="r"')


def two_headers(*texts):
    with token_server(lambda asked, request: {"token": "T"}) as tokens:
        def hook(request):
            if request.headers.get("Authorization") == "Bearer T":
                return None
            # Names of headers are told apart by their case here only.
            names = ("WWW-Authenticate", "Www-Authenticate")
            return error(401, "UNAUTHORIZED", {name: text.replace("REALM", tokens.url + "/token") for name, text in zip(names, texts)})
        with Registry(hook=hook) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            return and_command(compare(ref, image)[0], ref)
