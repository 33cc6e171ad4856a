"""Mirrors that answer 200 with what is not the blob, and k3s' rewrite: the mirror is put aside, the registry serves."""
import time

from lib.node import short
from lib.play import Seen, blame, case, compare, node, pull_to
from lib.registry import Registry, error
from lib.server import NO_LENGTH, Answer, Server

from .certificates import small

HTML = {"Content-Type": "text/html"}
PAGE = b"<!doctype html><html><body>" + b"sign in " * 3000 + b"</body></html>"


class Asked:
    """What a mirror's answer may depend on."""

    def __init__(self, request, image, registry):
        self.path, self.image, self.registry, self.request = request.path, image, registry, request
        self.blob = "/blobs/" in request.path
        self.layer = request.path.split("/")[-1] in image.layers
        self.size = len(image.blobs.get(request.path.split("/")[-1], b""))


def mirror(name, title, answer, limit=8):
    """`answer(Asked)` is the mirror's; None is a 404. `pull` must work, in so many seconds."""
    @case("mirrors-" + name, title, "ok")
    def _():
        image = small(2)
        with Registry() as registry:
            handle = lambda request: answer(Asked(request, image, registry)) or Answer(404)
            with Server(handle) as server:
                ref = registry.add("test/app", "t", image)
                node().hosts(registry.address, 'server = "%s"\n[host."%s"]\ncapabilities = ["pull", "resolve"]\n' % (registry.url, server.url))
                began = time.monotonic()
                done, _ = pull_to(ref, node().path("chunked.toml"))
                took = time.monotonic() - began
                if done.code or took > limit:
                    return blame(Seen("wrong", "`pull` in %.1f s, %d requests to the mirror: %s" % (took, len(server.log), short(done.error, 700))), [done.error])
                seen, _, _ = compare(ref, image, hosts=True)
                # Of what containerd cannot pull through such a mirror, nothing is asked of us.
                right = seen.outcome in ("same", "handed over", "ours", "refused")
                return Seen("ok" if right else "wrong", "%s; %s" % (seen.outcome, seen.text), seen.controls)


page = lambda asked: Answer(200, HTML, PAGE)
mirror("page", "a page with a length for everything", page)
mirror("page-chunked", "a page in chunks for everything", lambda asked: Answer(200, HTML, PAGE, chunked=True))
mirror("page-for-blobs", "a page for blobs", lambda asked: page(asked) if asked.blob else None)
mirror("page-for-layers", "a page for layers", lambda asked: page(asked) if asked.layer else None)
mirror("page-until-close", "a page without a length for layers", lambda asked: Answer(200, {**HTML, NO_LENGTH: "1"}, PAGE) if asked.layer else None)
mirror("page-slow", "a page after 3 s for layers", lambda asked: (time.sleep(3), page(asked))[1] if asked.layer else None, limit=20)
mirror("same-length", "as many bytes as the blob has, but wrong ones", lambda asked: Answer(200, HTML, b"x" * asked.size) if asked.layer else None)
mirror("wrong-length", "a hundred bytes for blobs", lambda asked: Answer(200, HTML, b"x" * 100) if asked.blob else None)
mirror("one-more", "one byte more than the blob has", lambda asked: Answer(200, {}, b"x" * (asked.size + 1)) if asked.layer else None)
mirror("one-less", "one byte less than the blob has", lambda asked: Answer(200, {}, b"x" * (asked.size - 1)) if asked.layer else None)
mirror("half", "half of the right bytes", lambda asked: Answer(200, {}, asked.image.blobs[asked.path.split("/")[-1]][:asked.size // 2]) if asked.layer else None)
mirror("last-byte", "the right bytes but the last one",
       lambda asked: Answer(200, {}, asked.image.blobs[asked.path.split("/")[-1]][:-1] + b"\0") if asked.layer else None)
mirror("empty", "no body for everything", lambda asked: Answer(200, HTML))
mirror("empty-for-blobs", "no body for blobs", lambda asked: Answer(200, HTML) if asked.blob else None)
mirror("empty-for-layers", "no body for layers", lambda asked: Answer(200, HTML) if asked.layer else None)
mirror("empty-chunked", "no body, in chunks, for layers", lambda asked: Answer(200, HTML, b"", chunked=True) if asked.layer else None)
mirror("206-without-range", "206 and a page without Content-Range for layers", lambda asked: Answer(206, HTML, PAGE) if asked.layer else None)
mirror("206-other-range", "206 with a range that nobody asked for", lambda asked: Answer(206, {"Content-Range": "bytes 5-9/10"}, b"xxxxx") if asked.layer else None)
mirror("206-other-size", "206 with another size", lambda asked: Answer(206, {"Content-Range": "bytes 0-99/100"}, b"x" * 100) if asked.layer else None)
for status in (201, 202, 203, 204, 205):
    mirror(str(status), "status %d with a page for layers" % status,
           lambda asked, status=status: Answer(status, {NO_LENGTH: "1"} if status in (204, 205) else HTML, b"" if status in (204, 205) else PAGE) if asked.layer else None)
for status in (400, 401, 403, 410, 429, 500, 502, 503):
    mirror("status-%d" % status, "status %d for everything" % status, lambda asked, status=status: error(status, "X"), limit=20)
mirror("closes", "the connection is closed", lambda asked: Answer(0))
mirror("closes-for-layers", "the connection is closed for layers", lambda asked: Answer(0) if asked.layer else None)
mirror("login", "a redirect to a page", lambda asked: page(asked) if asked.path.startswith("/login") else Answer(302, {"Location": "/login?next=" + asked.path}))
mirror("loop", "redirects without an end", lambda asked: Answer(302, {"Location": asked.path + "?again"}))
mirror("wrong-manifest", "another image's manifest for a digest", lambda asked: Answer(200, {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}, small().manifest)
       if "/manifests/sha256:" in asked.path else None)
mirror("json", "JSON of an error with status 200", lambda asked: Answer(200, {"Content-Type": "application/json"}, b'{"errors":[{"code":"DENIED"}]}'))


# ---------------------------------------------------------------- rewrite

REWRITE = '''server = "http://127.0.0.1:%d"
[host."%s/v2"]
override_path = true
capabilities = ["pull", "resolve"]
[host."%s/v2".rewrite]
%s
'''


def rewrite(name, title, rules, there, port):
    """A mirror that has the image under another name. k3s' containerd rewrites; here the mirror does so for it."""
    @case("mirrors-rewrite-" + name, title)
    def _():
        with Registry() as registry:
            image = small()
            registry.add(there, "t", image)
            def hook(request):
                ours = (request.headers.get("User-Agent") or "").startswith("chunked-snapshotter")
                if not ours:
                    request.path = request.path.replace("/v2/test/app/", "/v2/%s/" % there)
                return error(404, "NAME_UNKNOWN") if request.path.startswith("/v2/test/app/") else None
            registry.hook = hook
            node().hosts("127.0.0.1:%d" % port, REWRITE % (port, registry.url, registry.url, rules))
            return compare("127.0.0.1:%d/test/app:t" % port, image, hosts=True)[0]


rewrite("group", "k3s' rewrite with a group", '"^test/(.*)" = "mirror/$1"', "mirror/app", 3)
rewrite("whole", "k3s' rewrite of a whole name", '"^test/app$" = "other"', "other", 4)
rewrite("named", "k3s' rewrite with ${1}", '"(.*)/(.*)" = "${2}/x-${1}"', "app/x-test", 5)
rewrite("unanchored", "k3s' rewrite in the middle of a name", '"st/a" = "zz"', "tezzpp", 6)
