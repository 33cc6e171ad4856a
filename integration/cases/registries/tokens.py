"""Answers of token servers, as containerd and distribution read them."""
from lib.play import case, compare
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
