"""A registry in memory, and the token servers that registries send their clients to."""
import base64
import itertools
import json
import re
import urllib.parse

from .image import INDEX, sha
from .server import Answer, Server

JSON = {"Content-Type": "application/json"}


def error(status, code, headers=None):
    body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
    return Answer(status, {**JSON, **(headers or {})}, body)


class Registry(Server):
    """Push, pull, single ranges and HEAD. `hook(request)` may answer first; None lets the registry answer.

    Below `prefix` it serves as a mirror that shares its host with others does.
    """

    def __init__(self, host="127.0.0.1", tls=None, hook=None, prefix=""):
        self.blobs, self.manifests, self.uploads, self.hook, self.prefix = {}, {}, {}, hook, prefix
        self.digests = {}  # what it says that a tag's manifest is known by, if that is not sha256
        self.names = itertools.count(1)
        super().__init__(self.first_answer, host, tls)

    def add(self, repository, tag, image, index=None):
        """Takes an image in, and an index that the tag then names; gives the reference."""
        self.blobs.update(image.blobs)
        for name in (tag, image.digest):
            self.manifests[repository, name] = (image.type, image.manifest)
        self.digests[repository, tag] = image.digest
        if index is not None:
            self.add_index(repository, tag, index)
        return "%s/%s:%s" % (self.address, repository, tag)

    def add_index(self, repository, tag, index):
        self.manifests[repository, tag] = self.manifests[repository, sha(index)] = (INDEX, index)
        self.digests[repository, tag] = sha(index)

    def first_answer(self, request):
        answer = self.hook(request) if self.hook else None
        return answer or self.registry(request)

    def registry(self, request):
        path = request.path
        if self.prefix:
            if not path.startswith("/v2" + self.prefix):
                return Answer(404, {"Content-Type": "text/plain"}, b"no such path")
            path = "/v2" + path[len("/v2" + self.prefix):]
        if path.rstrip("/") == "/v2":
            return Answer(200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")
        for pattern, answer in ((r"/v2/(.+)/manifests/([^/]+)", self.manifest), (r"/v2/(.+)/blobs/uploads/([^/]*)", self.upload),
                                (r"/v2/(.+)/blobs/([^/]+)", self.blob)):
            found = re.fullmatch(pattern, path)
            if found:
                return answer(request, path, found[1], found[2])
        return error(404, "NOT_FOUND")

    def manifest(self, request, path, repository, name):
        if request.method == "PUT":
            kept = (request.headers.get("Content-Type", ""), request.body)
            self.manifests[repository, name] = self.manifests[repository, sha(request.body)] = kept
            self.digests.pop((repository, name), None)
            return Answer(201, {"Docker-Content-Digest": sha(request.body), "Location": path})
        found = self.manifests.get((repository, name))
        if not found:
            return error(404, "MANIFEST_UNKNOWN")
        digest = name if ":" in name else self.digests.get((repository, name)) or sha(found[1])
        return Answer(200, {"Content-Type": found[0], "Docker-Content-Digest": digest}, found[1])

    def upload(self, request, path, repository, name):
        if request.method == "POST":
            name = "u%d" % next(self.names)
            self.uploads[name] = b""
            return Answer(202, {"Location": "/v2/%s/blobs/uploads/%s" % (repository, name)})
        self.uploads[name] = self.uploads.get(name, b"") + request.body
        if request.method == "PATCH":
            return Answer(202, {"Location": path, "Range": "0-%d" % (len(self.uploads[name]) - 1)})
        digest = urllib.parse.unquote(re.search(r"digest=([^&]+)", request.query)[1])
        data = self.uploads.pop(name)
        if sha(data, digest.split(":")[0]) != digest:
            return error(400, "DIGEST_INVALID")
        self.blobs[digest] = data
        return Answer(201, {"Location": "/v2/%s/blobs/%s" % (repository, digest), "Docker-Content-Digest": digest})

    def blob(self, request, path, repository, digest):
        data = self.blobs.get(digest)
        return blob_answer(request, data, digest) if data is not None else error(404, "BLOB_UNKNOWN")


def blob_answer(request, data, digest):
    headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
    if not asked:
        return Answer(200, headers, data)
    start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
    if start >= len(data):
        return Answer(416, {"Content-Range": "bytes */%d" % len(data)})
    headers["Content-Range"] = "bytes %d-%d/%d" % (start, end, len(data))
    return Answer(206, headers, data[start:end + 1])


# ---------------------------------------------------------------- who may

USER, PASSWORD = "u", "p"
BASIC = "Basic " + base64.b64encode(b"u:p").decode()


def basic(request):
    """A hook that wants the one user's password."""
    if request.headers.get("Authorization") == BASIC:
        return None
    return error(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="r"'})


def wanted_scope(request):
    found = re.match(r"/v2/(.+)/(?:manifests|blobs)/", request.path)
    return "repository:%s:pull" % found[1] if found else ""


def bearer(realm, challenge=None, token="T"):
    """A hook that wants `Bearer TOKEN`. `challenge(scope)` gives the header's text, by default the usual one."""
    usual = lambda scope: 'Bearer realm="%s",service="s",scope="%s"' % (realm, scope)
    def hook(request):
        if request.headers.get("Authorization") == "Bearer " + token:
            return None
        return error(401, "UNAUTHORIZED", {"WWW-Authenticate": (challenge or usual)(wanted_scope(request))})
    return hook


def token_server(answer_for, host="127.0.0.1", tls=None):
    """A token server: `answer_for(scopes, request)` gives an Answer or a document."""
    def handle(request):
        asked = request.query or request.body.decode("latin1")
        scopes = [urllib.parse.unquote_plus(scope) for scope in re.findall(r"(?:^|&)scope=([^&]*)", asked)]
        answer = answer_for(scopes, request)
        return answer if isinstance(answer, Answer) else Answer(200, JSON, json.dumps(answer).encode())
    return Server(handle, host, tls)
