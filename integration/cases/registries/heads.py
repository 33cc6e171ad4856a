"""Destinations of `convert`: HEAD is an optional question, and uploads are answered in many ways."""
import json

from lib.node import short
from lib.play import Seen, blame, case, command, common
from lib.registry import Registry, error
from lib.server import NO_LENGTH, Answer

from .certificates import small


def destination(name, title, answer, right="ok"):
    """`answer(request, registry, state)` is the destination's; None lets it do its work."""
    @case("heads-" + name, title, right)
    def _():
        with Registry() as source, Registry() as registry:
            image, state = small(), {}
            ref = source.add("test/app", "t", image)
            registry.hook = lambda request: answer(request, registry, state)
            done = command("convert", "docker://" + ref, "docker://%s/new/app:t" % registry.address, *common())
            there = ("new/app", "t") in registry.manifests
            if done.code or not there:
                return blame(Seen("refused" if done.code else "wrong", short(done.error, 600)), [done.error])
            manifest = json.loads(registry.manifests["new/app", "t"][1])
            lost = [entry["digest"] for entry in (manifest["config"], *manifest["layers"]) if entry["digest"] not in registry.blobs]
            return Seen("wrong" if lost else "ok", "blobs that were never uploaded: %s" % lost if lost else "")


def head_of_blob(request):
    return request.method == "HEAD" and "/blobs/" in request.path and "/uploads/" not in request.path


def head_of_manifest(request):
    return request.method == "HEAD" and "/manifests/" in request.path


def once(state, answer):
    """The answer, the first time only."""
    if "done" in state:
        return None
    state["done"] = True
    return answer


def changed(registry, request, change):
    """The registry's own answer, changed."""
    answer = registry.registry(request)
    return change(answer) or answer


for status in (400, 401, 403, 405, 406, 429, 500, 501, 503):
    destination("blob-%d" % status, "HEAD of a blob: %d" % status, lambda q, r, s, status=status: Answer(status) if head_of_blob(q) else None)
destination("blob-closes", "HEAD of a blob: the connection is closed", lambda q, r, s: Answer(0) if head_of_blob(q) else None)
destination("blob-200-always", "HEAD of a blob: 200 without a length, whether it is there or not",
            lambda q, r, s: Answer(200, {NO_LENGTH: "1"}) if head_of_blob(q) and q.path.split("/")[-1] in r.blobs else None)
destination("blob-204", "HEAD of a blob: 204", lambda q, r, s: Answer(204, {NO_LENGTH: "1"}) if head_of_blob(q) else None)
destination("blob-redirect", "HEAD of a blob: a redirect to a page", lambda q, r, s: Answer(302, {"Location": "/login"}) if head_of_blob(q) else
            Answer(200, {"Content-Type": "text/html"}, b"page") if q.path == "/login" else None)
for status in (400, 403, 405, 500):
    destination("manifest-%d" % status, "HEAD of a manifest: %d" % status, lambda q, r, s, status=status: Answer(status) if head_of_manifest(q) else None)
destination("everything-405", "every HEAD: 405", lambda q, r, s: Answer(405) if q.method == "HEAD" else None)
destination("everything-404", "every HEAD: 404", lambda q, r, s: Answer(404) if q.method == "HEAD" else None)
destination("post-503", "POST of an upload: 503 once", lambda q, r, s: once(s, Answer(503, {"Retry-After": "1"})) if q.method == "POST" else None)
destination("post-429", "POST of an upload: 429 once", lambda q, r, s: once(s, Answer(429, {"Retry-After": "1"})) if q.method == "POST" else None)
destination("put-500", "PUT of a blob: 500 once", lambda q, r, s: once(s, Answer(500)) if q.method == "PUT" and "/uploads/" in q.path else None)
destination("put-closes", "PUT of a blob: closed once", lambda q, r, s: once(s, Answer(0)) if q.method == "PUT" and "/uploads/" in q.path else None)
destination("put-200", "PUT of blobs and manifests: 200 instead of 201",
            lambda q, r, s: changed(r, q, lambda a: Answer(200, a.headers) if a.status == 201 else None) if q.method == "PUT" else None)
destination("put-204", "PUT of blobs: 204", lambda q, r, s: changed(r, q, lambda a: Answer(204, {NO_LENGTH: "1"}) if a.status == 201 else None)
            if q.method == "PUT" and "/uploads/" in q.path else None)
destination("post-200", "POST of an upload: 200 instead of 202, which others refuse, too",
            lambda q, r, s: changed(r, q, lambda a: Answer(200, a.headers)) if q.method == "POST" else None, right=("ok", "refused"))
destination("location-query", "an upload's Location with a query", lambda q, r, s: changed(r, q, lambda a: Answer(202, {"Location": a.headers["Location"] + "?_state=a%2Fb"}))
            if q.method == "POST" else None)
destination("location-absolute", "an upload's Location with the host", lambda q, r, s: changed(r, q, lambda a: Answer(202, {"Location": r.url + a.headers["Location"]}))
            if q.method == "POST" else None)
destination("location-relative", "an upload's Location without a slash before it",
            lambda q, r, s: changed(r, q, lambda a: Answer(202, {"Location": a.headers["Location"].rsplit("/", 1)[1]})) if q.method == "POST" else None)
destination("location-no-scheme", "an upload's Location //host/path",
            lambda q, r, s: changed(r, q, lambda a: Answer(202, {"Location": "//" + r.address + a.headers["Location"]})) if q.method == "POST" else None)
destination("no-digest-header", "no Docker-Content-Digest", lambda q, r, s: changed(r, q, lambda a: a.headers.pop("Docker-Content-Digest", None) and None))
destination("put-denied", "PUT of the manifest: 403", lambda q, r, s: error(403, "DENIED") if q.method == "PUT" and "/manifests/" in q.path else None, right="refused")
destination("post-denied", "POST of an upload: 403", lambda q, r, s: error(403, "DENIED") if q.method == "POST" else None, right="refused")
