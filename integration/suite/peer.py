"""A peer-to-peer mirror that answers as Spegel of August 2026 does, tried with two nodes: what a node's containerd holds it serves,
a single range with 206, several ranges with 404, and what no node has with 404 after the 20 ms it looks for it."""
import http.server
import os
import re
import time

import servers

LOOKS = 0.02


class Peer:
    """`holder`: the node whose content store it serves. Remembers (method, path, range, status) of each request."""

    def __init__(self, holder):
        self.seen = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path, _, query = self.path.partition("?")
                found = re.fullmatch(r"/v2/.+/(blobs|manifests)/(sha256:[0-9a-f]{64})", path)
                # It wants to know whose mirror it is (containerd's `ns`).
                file = outer.held(holder, found.group(2)) if found and "ns=" in query else None
                asked = self.headers.get("Range")
                if path == "/v2/":
                    self.answer(200, b"", asked)
                elif file is None or (asked and "," in asked):
                    if file is None:
                        time.sleep(LOOKS)
                    self.answer(404, b"", asked)
                else:
                    with open(file, "rb") as f:
                        data = f.read()
                    self.serve(data, asked, found.group(1))

            do_HEAD = do_GET

            def serve(self, data, asked, what):
                kind = "application/octet-stream" if what == "blobs" else outer.media_type(data)
                range_ = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
                if not range_:
                    self.answer(200, data, asked, {"Content-Type": kind, "Accept-Ranges": "bytes"})
                    return
                first, last = int(range_.group(1)), min(int(range_.group(2) or len(data)), len(data) - 1)
                self.answer(206, data[first:last + 1], asked, {
                    "Content-Type": kind, "Content-Range": "bytes %d-%d/%d" % (first, last, len(data))})

            def answer(self, status, body, asked, headers=None):
                outer.seen.append((self.command, self.path.partition("?")[0], asked, status))
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = servers.Background(Handler)
        self.address = self.server.address

    @staticmethod
    def held(node, digest):
        path = node.path("root", "io.containerd.content.v1.content", "blobs", "sha256", digest.split(":")[1])
        return path if os.path.exists(path) else None

    @staticmethod
    def media_type(data):
        found = re.search(rb'"mediaType":\s*"([^"]+)"', data)
        return found.group(1).decode() if found else "application/octet-stream"

    def layers(self, image):
        """Requests for the image's layers."""
        return [entry for entry in self.seen if entry[1].rsplit("/", 1)[1] in image.layers]

    def close(self):
        self.server.close()
