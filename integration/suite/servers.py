"""Servers a registry can stand behind: TLS, Basic and token authentication, nginx as mirror, an HTTP proxy."""
import base64
import contextlib
import http.server
import itertools
import json
import os
import select
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from lab import REGISTRY_CONFIG, answers, free_address, run, wait_for


class Authority:
    """A CA of the test's own."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.certificate, self.key = self.path("ca.crt"), self.path("ca.key")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", self.certificate, "-days", "2",
            "-subj", "/CN=the test's CA")

    def path(self, name):
        return os.path.join(self.directory, name)

    def issue(self, name, alternatives="IP:127.0.0.1,DNS:registry.test"):
        """A certificate for servers and clients: its file and that of its key."""
        key, request, certificate = (self.path(name + end) for end in (".key", ".csr", ".cert"))
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=" + name)
        extensions = self.path(name + ".ext")
        with open(extensions, "w") as f:
            f.write("subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n" % alternatives)
        run("openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", "2",
            "-extfile", extensions, "-out", certificate)
        return certificate, key


def registry(lab, name, auth=None, tls=None):
    """Debian's docker-registry over the same storage as the lab's; `auth` and `tls` are parts of its configuration."""
    address = free_address()
    config = REGISTRY_CONFIG.format(root=lab.mount, address=address)
    if tls:
        config = config.replace('http: {addr: "%s"}' % address, "http: " + json.dumps({"addr": address, "tls": tls}))
    if auth:
        config += "auth: %s\n" % json.dumps(auth)
    path = lab.path(name + ".yml")
    with open(path, "w") as f:
        f.write(config)
    lab.start(name, ["docker-registry", "serve", path])
    wait_for(name, lambda: listens(address))
    return address


def listens(address):
    host, port = address.rsplit(":", 1)
    with socket.socket() as s:
        return s.connect_ex((host, int(port))) == 0


def htpasswd(path, user, password):
    # perl is part of every Debian; its crypt() makes the bcrypt hashes that docker-registry wants.
    script = 'print crypt($ARGV[0], q($2b$05$abcdefghijklmnopqrstuu))'
    hashed = subprocess.run(["perl", "-e", script, password], capture_output=True, text=True, check=True).stdout
    with open(path, "w") as f:
        f.write("%s:%s\n" % (user, hashed))


def docker_config(path, host, user, password):
    auth = base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump({"auths": {host: {"auth": auth}}}, f)


def nginx(lab, name, http):
    """nginx with these server blocks, in which $A, $B … stand for free addresses; gives them and its log's path."""
    directory = lab.path("nginx-" + name)
    os.makedirs(directory)
    addresses = []
    for letter in "ABC":
        if "$" + letter in http:
            addresses.append(free_address())
            http = http.replace("$" + letter, addresses[-1])
    log = os.path.join(directory, "access.log")
    with open(os.path.join(directory, "nginx.conf"), "w") as f:
        f.write("""user root; worker_processes 1; pid {d}/pid; error_log {d}/error.log; events {{}}
http {{
  log_format t '$server_port $status $body_bytes_sent "$http_range" $request_method $request_uri';
  access_log {d}/access.log t; client_body_temp_path {d}/b; proxy_temp_path {d}/p; client_max_body_size 0;
  fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u; scgi_temp_path {d}/s; proxy_http_version 1.1; proxy_set_header Host $http_host;
  {http}
}}
""".format(d=directory, http=http))
    lab.start(name, ["nginx", "-c", os.path.join(directory, "nginx.conf"), "-p", directory, "-g", "daemon off;"])
    for address in addresses:
        wait_for(name, lambda: listens(address))
    return addresses, log


class Logged:
    """Requests for blobs in the log of the nginx at an address since `reset`: (port, status, bytes, range, path)."""

    def __init__(self, path, address):
        self.path, self.address, self.start, self.marks = path, address, 0, itertools.count(1)

    def reset(self):
        self.start = os.path.getsize(self.path)

    def blobs(self, address=None):
        # A line is written when its request is over, which can be a moment after its last byte, but before the one worker
        # turns to another request.
        mark = "/mark-%d." % next(self.marks)
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen("http://%s%s" % (self.address, mark), timeout=30).close()
        wait_for("nginx's log", lambda: mark in self.text())
        found = []
        for line in self.text().splitlines():
            head, asked, rest = line.split('"')
            port, status, size = head.split()
            path = rest.split()[1]
            if "/blobs/" in path and (address is None or address.endswith(":" + port)):
                found.append((port, int(status), int(size), asked if asked != "-" else None, path))
        return found

    def text(self):
        with open(self.path) as f:
            f.seek(self.start)
            return f.read()


class Background(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler, tls=None):
        super().__init__(("127.0.0.1", 0), handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.address = "127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class TokenServer:
    """Gives tokens to one user, signed as docker-registry wants them (distribution, "Token Authentication")."""

    def __init__(self, authority, user, password):
        self.certificate, self.key = authority.issue("tokens")
        self.bundle = authority.certificate
        self.wanted = "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
        self.given, self.refused, self.seconds = [], 0, 300
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
                if self.headers.get("Authorization") != outer.wanted:
                    outer.refused += 1
                    self.send_error(401)
                    return
                body = json.dumps({"token": outer.token(query.get("scope", [])), "expires_in": 300}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                # As most servers did for years; containerd asks by GET then.
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_error(405)

            def log_message(self, *_):
                pass

        self.server = Background(Handler)
        self.auth = {"token": {"realm": "http://%s/token" % self.server.address, "service": "test", "issuer": "tests",
                               "rootcertbundle": self.bundle}}

    def token(self, scopes):
        encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
        with open(self.certificate) as f:
            lines = f.read().split("-----BEGIN CERTIFICATE-----")[1].split("-----END")[0].split()
        # The registry grants a minute after the end; that is taken off, so that a token ends when it shall.
        end = int(time.time()) + self.seconds - 60
        access = [dict(zip(("type", "name", "actions"), (s.split(":")[0], s.split(":")[1], s.split(":")[2].split(",")))) for s in scopes]
        head = encode(json.dumps({"typ": "JWT", "alg": "RS256", "x5c": ["".join(lines)]}).encode())
        body = encode(json.dumps({"iss": "tests", "sub": "user", "aud": "test", "exp": end, "nbf": end - 3600, "iat": end - 3600,
                                  "jti": str(len(self.given)), "access": access}).encode())
        text = head + b"." + body
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text, capture_output=True, check=True).stdout
        token = (text + b"." + encode(signature)).decode()
        self.given.append(token)
        return token


class ConnectProxy:
    """An HTTP proxy for CONNECT that knows registry.test, which no resolver does, and wants a password."""

    def __init__(self, password):
        self.wanted = "Basic " + base64.b64encode(("proxy:" + password).encode()).decode()
        self.connects = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self):
                outer.connects.append(self.path)
                if self.headers.get("Proxy-Authorization") != outer.wanted:
                    self.send_error(407)
                    return
                port = int(self.path.rsplit(":", 1)[1])
                with socket.create_connection(("127.0.0.1", port), timeout=10) as other:
                    self.send_response(200)
                    self.end_headers()
                    pair = {self.connection: other, other: self.connection}
                    while True:
                        for one in select.select(list(pair), [], [], 60)[0]:
                            data = one.recv(1 << 16)
                            if not data:
                                self.close_connection = True
                                return
                            pair[one].sendall(data)

            def log_message(self, *_):
                pass

        self.server = Background(Handler)


def healthy(address):
    return answers("http://%s/v2/" % address)
