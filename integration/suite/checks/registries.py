"""Registries as they really are: real servers with authentication, TLS, mirrors, redirects, proxies."""
import json
import os
import shutil
import subprocess
import time

import images
import servers
from lab import BINARY, Failure, Node, free_address, run

USER, PASSWORD, OTHER = "user", "PASSWORD-SECRET", "ROTATED-SECRET"
PROXY_PASSWORD = "PROXY-SECRET"


class Puller:
    """`chunked-snapshotter pull` with files of its own."""

    def __init__(self, lab, name):
        self.lab, self.dir = lab, lab.path("puller-" + name)
        os.makedirs(self.dir)
        self.docker, self.certs = self.path("docker/config.json"), self.path("certs.d")
        self.said, self.count = "", 0

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def hosts(self, host, text, **files):
        directory = os.path.join(self.certs, host)
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        for name, content in ({"hosts.toml": text} if text is not None else {}).items():
            with open(os.path.join(directory, name), "w") as f:
                f.write(content)
        for name, source in files.items():
            shutil.copy(source, os.path.join(directory, name.replace("_", ".")))

    def pull(self, name, registry="", pull="", env=None, root=None, check=True):
        """Pulls into a new store, or into `root`; gives the report, or with `check=False` the finished process."""
        self.count += 1
        config = self.path("config.toml")
        with open(config, "w") as f:
            f.write('[registry]\ndocker_config = "%s"\ncontainers_auth = "%s"\nconfig_path = "%s"\n%s\n[pull]\n%s\n' % (
                self.docker, self.path("auth.json"), self.certs, registry, pull))
        root = root or self.path("store%d" % self.count)
        environment = {k: v for k, v in os.environ.items() if k.lower() not in ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
                       and k not in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR")}
        done = subprocess.run([BINARY, "pull", name, "--config", config, "--root", root, "--json", "--log-level", "trace"],
                              env={**environment, **(env or {})}, capture_output=True, text=True, timeout=120)
        self.said += done.stdout + done.stderr
        if not check:
            return done
        if done.returncode:
            raise Failure("pull %s: exit %d\n%s" % (name, done.returncode, done.stderr[-3000:]))
        return json.loads(done.stdout)

    def fails(self, name, *parts, **more):
        done = self.pull(name, check=False, **more)
        error = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
        text = done.stderr[-3000:]
        if done.returncode == 0 or not all(part in text for part in parts):
            raise Failure("exit %d; %s not in: %s" % (done.returncode, parts, text))
        return error


def expect(what, condition):
    if not condition:
        raise Failure(what)


def script(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def checks(lab, registry):
    image = images.push(lab, registry, "registries", images.application(1), ["zstd:chunked"])["zstd:chunked"]
    update = images.push(lab, registry, "registries2", images.application(2), ["zstd:chunked"])["zstd:chunked"]
    at = lambda address, of=image: "%s/%s:%s" % (address, of.repository, of.tag)
    size = sum(layer["size"] for layer in image.manifest["layers"])
    authority = servers.Authority(lab.path("ca"))
    passwords = lab.path("htpasswd")
    servers.htpasswd(passwords, USER, PASSWORD)
    basic = servers.registry(lab, "basic", auth={"htpasswd": {"realm": "tests", "path": passwords}})
    pullers = []

    def puller(name):
        pullers.append(Puller(lab, name))
        return pullers[-1]

    def basic_auth():
        p = puller("basic")
        p.fails(at(basic), "access denied", "docker login " + basic)
        servers.docker_config(p.docker, basic, USER, OTHER)
        p.fails(at(basic), "401", "docker login " + basic)
        servers.docker_config(p.docker, basic, USER, PASSWORD)
        expect("not the whole image", p.pull(at(basic))["bytes_fetched"] > 0.98 * size)
        os.rename(p.docker, p.path("auth.json"))
        p.pull(at(basic))

    def helper():
        p = puller("helper")
        bin = p.path("bin")
        environment = {"PATH": bin + ":" + os.environ["PATH"]}
        os.makedirs(os.path.dirname(p.docker))
        with open(p.docker, "w") as f:
            json.dump({"auths": {basic: {}}, "credHelpers": {basic: "test"}}, f)
        answer = json.dumps({"ServerURL": basic, "Username": USER, "Secret": PASSWORD})
        script(os.path.join(bin, "docker-credential-test"), "read server\n[ $server = %s ] && echo '%s'\n" % (basic, answer))
        p.pull(at(basic), env=environment)
        mark = p.path("hanging")
        script(os.path.join(bin, "docker-credential-test"), "sleep 1000 & echo $! > %s; echo SCRIPT-SECRET >&2; wait\n" % mark)
        started = time.monotonic()
        p.fails(at(basic), "docker-credential-test did not end within 1 s and was killed", "access denied", env=environment,
                registry='credential_timeout = "1s"')
        expect("took %.1f s" % (time.monotonic() - started), time.monotonic() - started < 60)
        with open(mark) as f:
            child = int(f.read())
        expect("the helper's child lives on", not os.path.exists("/proc/%d" % child) or
               open("/proc/%d/stat" % child).read().split(")")[1].split()[0] == "Z")
        # Who needs no credentials is served all the same.
        with open(p.docker, "w") as f:
            json.dump({"credsStore": "test"}, f)
        p.pull(at(registry), env=environment, registry='credential_timeout = "1s"')

    def kubelet_plugin():
        p = puller("kubelet")
        answer = json.dumps({"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
                             "cacheKeyType": "Registry", "auth": {basic: {"username": USER, "password": PASSWORD}}})
        script(p.path("bin", "provider"), "cat >> %s\n[ $MODE = test ] && echo '%s'\n" % (p.path("asked"), answer))
        with open(p.path("providers.yaml"), "w") as f:
            f.write("apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: provider\n"
                    "  apiVersion: credentialprovider.kubelet.k8s.io/v1\n  matchImages: ['127.0.*.1:%s']\n"
                    "  defaultCacheDuration: 10m\n  env: [{name: MODE, value: test}]\n" % basic.split(":")[1])
        settings = 'image_credential_provider_config = "%s"\nimage_credential_provider_bin_dir = "%s"' % (
            p.path("providers.yaml"), p.path("bin"))
        p.pull(at(basic), registry=settings)
        with open(p.path("asked")) as f:
            asked = json.loads(f.read())
        expect("asked %s" % asked, asked == {"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest",
                                             "image": "%s/%s" % (basic, image.repository)})

    def token_auth():
        tokens = servers.TokenServer(authority, USER, PASSWORD)
        address = servers.registry(lab, "token", auth=tokens.auth)
        p = puller("token")
        p.fails(at(address), "gives no anonymous token", "docker login")
        servers.docker_config(p.docker, address, USER, OTHER)
        p.fails(at(address), "refused the credentials")
        servers.docker_config(p.docker, address, USER, PASSWORD)
        p.pull(at(address))
        expect("%d tokens for one pull" % len(tokens.given), len(tokens.given) == 1)
        # Each is refused after 2 s, although it says otherwise; the pull takes 5.
        tokens.seconds, tokens.given = 2, []
        started = time.monotonic()
        report = p.pull(at(address), registry='bandwidth = "%dKiB"' % (size // 5 // 1024), pull='segment = "256KiB"')
        took = time.monotonic() - started
        print("    %d tokens in %.1f s, %d of %d bytes" % (len(tokens.given), took, report["bytes_fetched"], size))
        # Never more than one in a second: that is how long one is good for, as it counts whole seconds.
        expect("%d tokens in %.1f s" % (len(tokens.given), took), 2 <= len(tokens.given) <= took + 2 and took > 4)
        expect("bytes were fetched twice", report["bytes_fetched"] < 1.01 * size)
        tokens.server.close()

    def rotation():
        p = puller("rotation")
        node = DaemonNode(lab, "rotation", p)
        try:
            servers.docker_config(p.docker, basic, USER, PASSWORD)
            node.nerdctl("pull", "-q", at(basic))
            expect("layers came through containerd", not node.layer_blobs(image))
            servers.htpasswd(passwords, USER, OTHER)
            servers.docker_config(p.docker, basic, USER, OTHER)
            node.nerdctl("pull", "-q", at(basic, update))
            expect("layers came through containerd", not node.layer_blobs(update))
            p.said += node.daemon.text()
        finally:
            servers.htpasswd(passwords, USER, PASSWORD)
            node.stop()

    def private_ca():
        certificate, key = authority.issue("server")
        address = servers.registry(lab, "tls", tls={"certificate": certificate, "key": key})
        p = puller("tls")
        https = 'server = "https://%s"\n' % address
        p.hosts(address, https)
        p.fails(at(address), "certificate", "certs.d/%s/hosts.toml" % address)
        for name, text, files in (
                ("ca", https + 'ca = "%s"' % authority.certificate, {}),
                ("ca beside the file", https + 'ca = ["x.crt"]', {"x_crt": authority.certificate}),
                ("skip_verify", https + "skip_verify = true", {}),
                ("plain HTTP with TLS settings", '[host."http://%s"]\nskip_verify = true' % address, {}),
                ("docker's layout", None, {"ca_crt": authority.certificate})):
            p.hosts(address, text, **files)
            try:
                p.pull(at(address))
            except Failure as failure:
                raise Failure("%s: %s" % (name, failure))
        p.hosts(address, https + "ca = 5")
        p.fails(at(address), "/hosts.toml:2:6: wants a string or a list of strings")

    def client_certificate():
        certificate, key = authority.issue("mutual")
        address = servers.registry(lab, "mtls", tls={"certificate": certificate, "key": key, "clientcas": [authority.certificate]})
        mine, my_key = authority.issue("client")
        p = puller("mtls")
        https = 'server = "https://%s"\nca = "%s"\n' % (address, authority.certificate)
        p.hosts(address, https)
        p.fails(at(address), address)
        p.hosts(address, https + 'client = [["%s", "%s"]]' % (mine, my_key))
        p.pull(at(address))
        p.hosts(address, None, ca_crt=authority.certificate, c_cert=mine, c_key=my_key)
        p.pull(at(address))

    MIRROR = "server { listen $A; location / { proxy_pass http://%s; } }" % registry
    FRONT = "server { listen $B; location / { proxy_pass http://%s; } }" % registry

    def mirrors():
        (mirror, front), log = servers.nginx(lab, "mirror", MIRROR + FRONT)
        seen = servers.Logged(log, mirror)
        p = puller("mirror")
        p.hosts(front, '[host."http://%s"]\ncapabilities = ["pull", "resolve"]' % mirror)
        root = p.path("shared")
        p.pull(at(front), root=root)
        expect("the registry was asked: %s" % seen.blobs(front), not seen.blobs(front))
        seen.reset()
        report = p.pull(at(front, update), root=root)
        asked = seen.blobs(mirror)
        expect("no ranges: %s" % asked, any(status == 206 for _, status, _, _, _ in asked))
        expect("the registry was asked", not seen.blobs(front))
        expect("%(bytes_fetched)d of %(bytes_total)d fetched" % report, report["bytes_fetched"] < 0.15 * report["bytes_total"])
        # What the mirror was told for whom it asks.
        with open(log) as f:
            expect("no ns= in the mirror's log", "ns=" + front.replace(":", "%3A") in f.read())

    def without_ranges():
        whole = "server { listen $A; location / { proxy_set_header Range \"\"; max_ranges 0; proxy_pass http://%s; } }" % registry
        (mirror, front), log = servers.nginx(lab, "whole", whole + FRONT)
        seen = servers.Logged(log, mirror)
        p = puller("whole")
        p.hosts(front, '[host."http://%s"]' % mirror)
        p.pull(at(front))
        asked = seen.blobs(mirror)
        expect("not 200 alone: %s" % asked, asked and all(status == 200 for _, status, _, _, _ in asked))
        served = sum(size for _, _, size, _, _ in asked)
        expect("%d bytes served of %d" % (served, size), served < 1.05 * size + 100_000)
        expect("the registry was asked", not seen.blobs(front))

    def one_after_the_other():
        broken = "server { listen $A; location / { return 503; } }"
        (bad, front), log = servers.nginx(lab, "broken", broken + FRONT)
        seen = servers.Logged(log, bad)
        p = puller("order")
        down = free_address()
        p.hosts(front, '[host."http://%s"]\n[host."http://%s"]\n' % (down, bad))
        p.pull(at(front))
        asked = seen.blobs(bad)
        expect("the broken mirror was asked for %d blobs" % len(asked), len(asked) <= 1)
        expect("the registry served nothing", seen.blobs(front))
        said = p.said
        expect("no word about %s and %s" % (down, bad), "passing over a host" in said and down in said and bad in said)
        # Both mirrors and the registry down: the registry's own error, with what the others said.
        p.hosts(down, '[host."http://%s"]\n' % bad)
        p.fails(at(down), "registry %s" % down, "also tried: %s" % bad)

    def lying_mirror():
        layer = image.manifest["layers"][1]
        data = bytearray(image.bytes("blobs/" + layer["digest"]))
        data[len(data) // 3] ^= 1
        with open(lab.path("lie"), "wb") as f:
            f.write(data)
        lie = 'server { listen $A; location = "/v2/%s/blobs/%s" { alias %s; } location / { proxy_pass http://%s; } }' % (
            image.repository, layer["digest"], lab.path("lie"), registry)
        (mirror, front), log = servers.nginx(lab, "lying", lie + FRONT)
        seen = servers.Logged(log, mirror)
        p = puller("lying")
        p.hosts(front, '[host."http://%s"]' % mirror)
        p.pull(at(front))
        expect("the mirror was not asked", any(layer["digest"] in path for *_, path in seen.blobs(mirror)))
        expect("the registry was not asked", any(layer["digest"] in path for *_, path in seen.blobs(front)))

    def redirect():
        first = """server { listen $A; location ~ ^/v2/.*/blobs/ { if ($http_authorization) { return 307 http://$B$request_uri; }
            proxy_pass http://%s; } location / { proxy_pass http://%s; } }""" % (basic, basic)
        second = "server { listen $B; location / { if ($http_authorization) { return 400; } proxy_pass http://%s; } }" % registry
        (front, storage), log = servers.nginx(lab, "redirect", first + second)
        seen = servers.Logged(log, front)
        p = puller("redirect")
        servers.docker_config(p.docker, front, USER, PASSWORD)
        p.pull(at(front))
        asked = seen.blobs(storage)
        expect("answers of the second host: %s" % asked, asked and all(status in (200, 206) for _, status, _, _, _ in asked))

    def node_with_a_mirror():
        (mirror,), log = servers.nginx(lab, "only", MIRROR)
        seen = servers.Logged(log, mirror)
        p = puller("node")
        # A registry that is not there at all: everything comes from the mirror, as with a peer-to-peer cache.
        name = "127.0.0.1:9"
        p.hosts("_default", '[host."http://%s"]\ncapabilities = ["pull", "resolve"]' % mirror)
        node = DaemonNode(lab, "mirrored", p)
        try:
            pull = lambda name: node.ctr("images", "pull", "--hosts-dir", p.certs, "--snapshotter", "chunked", name)
            pull(at(name))
            expect("layers came through containerd", not node.layer_blobs(image))
            out = node.ctr("run", "--rm", "--snapshotter", "chunked", at(name), "mirrored").stdout
            expect("the container printed %r" % out, out == "hello from version 1\n")
            seen.reset()
            pull(at(name, update))
            served = sum(size for _, status, size, _, path in seen.blobs() if any(layer in path for layer in update.layers))
            print("    update through the mirror: %d of %d bytes" % (served, size))
            expect("%d bytes for the update" % served, served < 0.15 * size)
        finally:
            node.stop()

    def http_proxy():
        certificate, key = authority.issue("proxied")
        address = servers.registry(lab, "proxied", tls={"certificate": certificate, "key": key})
        name = "registry.test:" + address.split(":")[1]
        proxy = servers.ConnectProxy(PROXY_PASSWORD)
        p = puller("proxy")
        p.hosts(name, 'server = "https://%s"\nca = "%s"' % (name, authority.certificate))
        through = lambda password: {"HTTPS_PROXY": "http://proxy:%s@%s" % (password, proxy.server.address)}
        p.pull(at(name), env=through(PROXY_PASSWORD))
        expect("asked the proxy for %s" % proxy.connects, set(proxy.connects) == {name})
        p.fails(at(name), "registry " + name, env=through(OTHER))
        proxy.connects.clear()
        p.fails(at(name), "registry " + name, env={**through(PROXY_PASSWORD), "NO_PROXY": "registry.test"})
        expect("NO_PROXY did not count", not proxy.connects)
        # Loopback never goes through a proxy.
        p.pull(at(registry), env={"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"})
        proxy.server.close()

    def limits():
        (mirror,), log = servers.nginx(lab, "limits", MIRROR)
        p, q = puller("limits"), puller("limits-none")
        started = time.monotonic()
        q.pull(at(mirror))
        alone = time.monotonic() - started
        started = time.monotonic()
        p.pull(at(mirror), registry='bandwidth = "%dKiB"\nconnections = 1\nbytes_in_flight = "1MiB"' % (size // 3 // 1024))
        took = time.monotonic() - started
        print("    %d bytes in %.1f s at a third of them in a second, in %.1f s without a limit" % (size, took, alone))
        expect("took %.1f s, %.1f s without a limit" % (took, alone), 2.5 < took < 5 + 3 * alone)
        p.fails(at(mirror), "limit that pull.deadline sets", registry='bandwidth = "%dKiB"' % (size // 20 // 1024), pull='deadline = "2s"')

    def secrets():
        # Everything that all the checks before said, and all that is left on disk of stores and databases.
        said = "".join(p.said for p in pullers)
        expect("nothing was said", len(said) > 10_000)
        where = {"output and logs": said}
        for p in pullers:
            for directory, _, names in os.walk(p.dir):
                if "/store" in directory or "/shared" in directory:
                    for name in names:
                        if name.startswith(("state.db", "index.db", "registries.json")):
                            with open(os.path.join(directory, name), "rb") as f:
                                where[os.path.join(directory, name)] = f.read().decode("latin-1")
        expect("no databases: %s" % list(where), len(where) > 5)
        import base64
        words = [PASSWORD, OTHER, PROXY_PASSWORD, "SCRIPT-SECRET"]
        words += [base64.b64encode(("%s:%s" % (USER, word)).encode()).decode().rstrip("=") for word in (PASSWORD, OTHER)]
        for place, text in where.items():
            for word in words:
                at = text.find(word)
                expect("%s shows %s: %r" % (place, word, text[max(0, at - 200):at + 50]), at < 0)

    yield "Basic: docker's and containers' files, right and wrong", basic_auth
    yield "credential helper: used, and killed when it hangs", helper
    yield "the kubelet's credential provider", kubelet_plugin
    yield "token: from a server, ended in the middle of a pull", token_auth
    yield "credentials rotated between two pulls of one daemon", rotation
    yield "TLS with a private CA, in every way to name it", private_ca
    yield "TLS with a client certificate", client_certificate
    yield "nginx as a mirror with ranges", mirrors
    yield "nginx as a mirror without ranges", without_ranges
    yield "mirror down, next broken, then the registry", one_after_the_other
    yield "a mirror with a wrong byte: the layer comes from the registry", lying_mirror
    yield "redirect to a host that refuses Authorization", redirect
    yield "containerd's own hosts.toml for a mirror serves us, too", node_with_a_mirror
    yield "HTTPS_PROXY and NO_PROXY", http_proxy
    yield "bandwidth, connections, bytes in flight, deadline", limits
    yield "no secret in output, logs or databases of all these", secrets


class DaemonNode(Node):
    """containerd and our daemon with the files of a Puller."""

    def __init__(self, lab, name, puller):
        self.puller = puller
        super().__init__(lab, "2.4", name="node-" + name)

    def settings(self):
        return 'docker_config = "%s"\nconfig_path = "%s"\n' % (self.puller.docker, self.puller.certs)

    def nerdctl(self, *arguments, **more):
        arguments = ["--hosts-dir", self.puller.certs, *arguments]
        return super().nerdctl(*arguments, **more)

    def env(self):
        return {**super().env(), "DOCKER_CONFIG": os.path.dirname(self.puller.docker)}
