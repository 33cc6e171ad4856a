"""Answers of token servers, as containerd and distribution read them."""
import gzip
import time

from lib.node import short
from lib.play import Seen, blame, case, compare, pull_to
from lib.registry import JSON, Registry, bearer, token_server
from lib.server import NO_LENGTH, Answer

from .certificates import and_command, small

AS_CONTAINERD = ("same", "refused")


def tokens(name, title, answer, token="T"):
    @case("tokens-" + name, title, AS_CONTAINERD)
    def _():
        with token_server(lambda scopes, request: answer) as server, Registry(hook=bearer(server.url + "/token", token=token)) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            return and_command(compare(ref, image)[0], ref)


def raw(text, status=200, **headers):
    return Answer(status, {**JSON, **headers}, text)


tokens("both", "an empty token beside access_token", {"token": "", "access_token": "T"})
tokens("null", "a null token beside access_token", {"token": None, "access_token": "T"})
tokens("access-only", "access_token only", {"access_token": "T"})
tokens("access-empty", "an empty access_token beside token", {"token": "T", "access_token": ""})
tokens("both-differ", "two tokens that differ; `token` is the right one", {"token": "T", "access_token": "other"})
tokens("both-differ-access", "two tokens that differ; access_token is the right one", {"token": "other", "access_token": "T"})
tokens("both-empty", "both are empty", {"token": "", "access_token": ""})
for name, value in (("zero", 0), ("minus", -1), ("short", 1), ("day", 86400), ("decades", 10**9), ("null", None), ("string", "300"), ("true", True), ("list", [])):
    tokens("expires-" + name, "expires_in: %r" % (value,), {"token": "T", "expires_in": value})
tokens("expires-decimal", "expires_in: 300.0", raw(b'{"token":"T","expires_in":300.0}'))
tokens("expires-exponent", "expires_in: 3e2", raw(b'{"token":"T","expires_in":3e2}'))
tokens("expires-huge", "expires_in: 10^20", raw(b'{"token":"T","expires_in":100000000000000000000}'))
for name, value in (("text", "not a time"), ("null", None), ("empty", ""), ("past", "2001-01-01T00:00:00Z"), ("future", "2199-01-01T00:00:00Z"),
                    ("offset", "2026-01-01T00:00:00.123456789+02:00"), ("lower-case", "2026-01-01t00:00:00z"), ("space", "2026-01-01 00:00:00Z"), ("number", 1700000000)):
    tokens("issued-" + name, "issued_at: %r" % (value,), {"token": "T", "issued_at": value, "expires_in": 300})
tokens("refresh-null", "refresh_token: null", {"token": "T", "refresh_token": None})
tokens("refresh-number", "refresh_token: a number", {"token": "T", "refresh_token": 5})
tokens("scope", "a scope that is no text", {"token": "T", "scope": ["a"]})
tokens("key-capital", "the key Token", {"Token": "T"})
tokens("key-capitals", "the key ACCESS_TOKEN", {"ACCESS_TOKEN": "T"})
tokens("key-camel", "the key accessToken", {"accessToken": "T"})
tokens("key-twice", "the key token twice, the second is right", raw(b'{"token":"","token":"T"}'))
tokens("key-twice-null", "the key token twice, the second is null", raw(b'{"token":"T","token":null}'))
tokens("key-twice-cases", "token and Token", raw(b'{"token":"other","Token":"T"}'))
tokens("junk-behind", "junk behind the document", raw(b'{"token":"T"}\nxx'))
tokens("second-document", "a second document behind the first", raw(b'{"token":"T"}{"token":"other"}'))
tokens("spaces-before", "spaces and newlines before the document", raw(b'\n\n   {"token":"T"}'))
tokens("byte-order-mark", "a byte order mark", raw(b'\xef\xbb\xbf{"token":"T"}'))
tokens("chunked", "chunked, without a length", Answer(200, JSON, b'{"token":"T"}', chunked=True))
tokens("until-close", "neither a length nor chunks", Answer(200, {**JSON, NO_LENGTH: "1"}, b'{"token":"T"}'))
tokens("type-text", "media type text/html", Answer(200, {"Content-Type": "text/html"}, b'{"token":"T"}'))
tokens("status-201", "status 201", raw(b'{"token":"T"}', 201))
tokens("status-203", "status 203", raw(b'{"token":"T"}', 203))
tokens("status-204", "status 204", Answer(204, {NO_LENGTH: "1"}))
tokens("status-404", "status 404", raw(b'{"details":"no such service"}', 404))
tokens("status-403", "status 403", raw(b'{"errors":[{"code":"DENIED","message":"no"}]}', 403))
tokens("none", "no token at all", {"expires_in": 300})
tokens("not-json", "not JSON", raw(b"hello"))
tokens("empty-body", "no body", raw(b""))
tokens("array", "an array", raw(b'["T"]'))
tokens("number", "a token that is a number", {"token": 5})
tokens("nested", "a token within an object", {"token": {"value": "T"}})
tokens("long", "a token of 20 kB", {"token": "T" * 20_000}, token="T" * 20_000)
tokens("escaped", "a token with an escape", raw(b'{"token":"\\u0054"}'))
tokens("odd-characters", "a token with + / = ~", {"token": "a+b/c=~"}, token="a+b/c=~")
tokens("unknown-keys", "keys that nobody knows", {"token": "T", "x": {"y": [1, None]}, "detail": "z"})


def squeezed(always):
    """The answer of a token server that compresses: if it is asked to, or always."""
    def answer(request):
        body = b'{"token":"T"}'
        if always or "gzip" in (request.headers.get("Accept-Encoding") or ""):
            return Answer(200, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(body))
        return Answer(200, JSON, body)
    return answer


def asked(name, title, make, expected=AS_CONTAINERD, realm="/token"):
    """`make()` gives what a token server answers to a request."""
    @case("tokens-" + name, title, expected)
    def _():
        answer = make()
        with token_server(lambda scopes, request: answer(request)) as server, Registry(hook=bearer(server.url + realm)) as registry:
            image = small()
            ref = registry.add("test/app", "t", image)
            return and_command(compare(ref, image)[0], ref)


def elsewhere(status):
    return lambda request: Answer(200, JSON, b'{"token":"T"}') if request.path == "/other" else Answer(status, {"Location": "/other?" + request.query})


asked("gzip", "an answer that is compressed if that is asked for", lambda: squeezed(False))
for status in (301, 302, 303, 307, 308):
    asked("redirect-%d" % status, "a redirect, status %d" % status, lambda status=status: elsewhere(status))
asked("redirect-loop", "redirects without an end", lambda: lambda request: Answer(302, {"Location": request.path}), ("refused",))
asked("slow", "an answer after two seconds", lambda: lambda request: (time.sleep(2), Answer(200, JSON, b'{"token":"T"}'))[1])
asked("realm-query", "a realm with a query of its own", lambda: lambda request: Answer(200, JSON, b'{"token":"T"}') if "a=1" in request.query else Answer(400), realm="/token?a=1&b=2")
asked("realm-path", "a realm with an escaped path", lambda: lambda request: Answer(200, JSON, b'{"token":"T"}'), realm="/a%20b/token")
asked("realm-no-path", "a realm without a path", lambda: lambda request: Answer(200, JSON, b'{"token":"T"}'), realm="")
asked("cookie", "an answer with a cookie", lambda: lambda request: Answer(200, {**JSON, "Set-Cookie": "a=b"}, b'{"token":"T"}'))
asked("large", "an answer of 900 kB", lambda: lambda request: Answer(200, JSON, b'{"token":"T","x":"' + b"y" * 900_000 + b'"}'))
tokens("newline-in-token", "a token with a newline", {"token": "T\n"})
tokens("space-in-token", "a token with a space before it", {"token": " T"})
tokens("errors-beside", "errors beside a token", {"token": "T", "errors": [{"code": "X"}]})
tokens("errors-only", "status 200 and errors only", {"errors": [{"code": "DENIED", "message": "no"}]})


def once(name, title, first):
    """A token server that answers so once, and well from then on. containerd's client does not try again; ours does."""
    @case("tokens-once-" + name, title, "ok")
    def _():
        answers = iter([first])
        with token_server(lambda scopes, request: next(answers, {"token": "T"})) as server, Registry(hook=bearer(server.url + "/token")) as registry:
            done, _ = pull_to(registry.add("test/app", "t", small()))
            return blame(Seen("wrong" if done.code else "ok", short(done.error)), [done.error] if done.code else [])


once("429", "status 429 once", Answer(429, {"Retry-After": "1"}))
once("500", "status 500 once", Answer(500))
once("503", "status 503 once", Answer(503, {"Retry-After": "1"}))
once("closed", "a connection that is closed once", Answer(0))
