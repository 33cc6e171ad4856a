"""What the daemon tells of itself: its numbers against what a counting proxy and the disk saw, its health, its history."""
import http.client
import json
import os
import re
import socket
import subprocess
import urllib.parse
import urllib.request

import images
from lab import BINARY, Failure, Node, ROOT, answers, free_address, run, wait_for

OURS = re.compile(r"\b(?:chunked_snapshotter|process)_[a-z0-9_]+")
DIST = os.path.join(ROOT, "config", "dist")
PROMETHEUS = """global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: chunked-snapshotter
    static_configs: [{{targets: ["{target}"]}}]
"""


class OverSocket(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def get(node, page, method="GET"):
    """Status and text of a page on the daemon's socket for metrics."""
    connection = OverSocket(node.path("cs-metrics.sock"))
    connection.request(method, page)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def scrape(node):
    """The samples: {name{labels}: value}."""
    status, text = get(node, "/metrics")
    if status != 200 or not text.endswith("# EOF\n"):
        raise Failure("not a page of metrics: %d %s" % (status, text[-200:]))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def total(samples, name, **labels):
    """Sum of the samples of a metric that have these labels."""
    wanted = ['%s="%s"' % item for item in labels.items()]
    found = [value for key, value in samples.items() if key.split("{")[0] == "chunked_snapshotter_" + name and all(w in key for w in wanted)]
    if not found:
        raise Failure("there is no %s with %s" % (name, labels))
    return sum(found)


def expressions(found):
    """What the panels of a dashboard ask Prometheus, with values for Grafana's variables. What shows nothing on a good day, because
    it leaves out zeros or what went well, is asked without that."""
    for value in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from expressions(value)
    if isinstance(found, dict) and "expr" in found:
        text = found["expr"]
        for variable, value in (("$instance", ".+"), ("$__rate_interval", "1m"), ("$__range", "1m")):
            text = text.replace(variable, value)
        yield re.sub(r' > 0$|,(?:code!~|reason!=)"[^"]*"', "", text)


class Prometheus:
    """A real one that scrapes an address."""

    def __init__(self, lab, target):
        directory = lab.path("prometheus")
        os.makedirs(directory)
        config = os.path.join(directory, "prometheus.yml")
        with open(config, "w") as f:
            f.write(PROMETHEUS.format(rules=os.path.join(DIST, "prometheus-alerts.yml"), target=target))
        run("promtool", "check", "config", config)
        self.address = free_address()
        lab.start("prometheus", ["prometheus", "--config.file", config, "--storage.tsdb.path", os.path.join(directory, "data"),
                                 "--web.listen-address", self.address, "--log.level", "warn"])
        wait_for("Prometheus", lambda: answers("http://%s/-/ready" % self.address))

    def get(self, page, **parameters):
        url = "http://%s/api/v1/%s?%s" % (self.address, page, urllib.parse.urlencode(parameters))
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def ask(self, expression):
        """The samples that an expression gives now."""
        return self.get("query", query=expression)["result"]


def checks(lab, registry):
    address, ask = lab.proxy(registry)
    v1 = images.push(lab, registry, "metrics1", images.application(1), ["zstd:chunked"])
    v2 = images.push(lab, registry, "metrics2", images.application(2), ["zstd:chunked"])
    v3 = images.push(lab, registry, "metrics3", images.application(3), ["gzip"])
    # The same files once more, named after another registry.
    apart = images.push(lab, registry, "metrics4", images.application(4), ["zstd:chunked"])["zstd:chunked"]
    first, second, zipped = (image.through(address) for image in (v1["zstd:chunked"], v2["zstd:chunked"], v3["gzip"]))
    scraped = free_address()
    node = Node(lab, "2.4", [address, registry], name="metrics", settings='[metrics]\naddress = "%s"\n' % scraped)

    def ours(image):
        """What the proxy saw of us: layers, and ranges of the config, by which we try what the registry can do."""
        log = [r for r in ask("/log") if any(layer in r["path"] for layer in image.layers) or r.get("range")]
        layers = sum(r["body"] for r in log if any(layer in r["path"] for layer in image.layers))
        return len(log), sum(r["body"] for r in log), layers

    def pulled(image):
        """Pulls; gives by how much the numbers grew."""
        before = scrape(node)
        ask("/reset")
        node.nerdctl("pull", "-q", image.name)
        # The probe of what the registry can do may end after the pull.
        wait_for("requests to end", lambda: total(scrape(node), "registry_requests_now") == 0)
        after = scrape(node)
        grown = lambda name, **labels: total(after, name, **labels) - total(before, name, **labels)
        requests, bytes_, layers = ours(image)
        if grown("registry_requests_total") != requests or grown("registry_received_bytes_total") != bytes_:
            raise Failure("%d requests and %d bytes were counted, the proxy saw %d and %d" % (
                grown("registry_requests_total"), grown("registry_received_bytes_total"), requests, bytes_))
        fetched = grown("layer_fetched_bytes_total")
        # Between the parts of an answer for several ranges stand a few headers.
        if not 0.97 * layers <= fetched <= layers:
            raise Failure("%d bytes were counted for layers, the proxy saw %d" % (fetched, layers))
        reused, blobs = grown("layer_reused_bytes_total"), grown("layer_blob_bytes_total")
        print("    fetched %d, reused %d, of %d" % (fetched, reused, blobs))
        if grown("pulls_total", outcome="complete") != 1 or grown("pull_seconds_count") != 1:
            raise Failure("not one complete pull was counted")
        return grown

    def counted():
        grown = pulled(first)
        if grown("layers_total", mode="chunked") != len(first.layers) or grown("stage_seconds_count", stage="commit") != len(first.layers):
            raise Failure("not every layer was counted")
        grown = pulled(second)
        if grown("layer_reused_bytes_total", source="layer") < grown("layer_fetched_bytes_total"):
            raise Failure("an update reuses more than it fetches")
        if grown("grpc_calls_total", method="Snapshots/Prepare", code="AlreadyExists") < 1:
            raise Failure("no call of Prepare was counted")

    def withheld():
        before = scrape(node)
        node.nerdctl("pull", "-q", apart.name)
        grown = total(scrape(node), "layer_withheld_bytes_total") - total(before, "layer_withheld_bytes_total")
        fetched = total(scrape(node), "layer_fetched_bytes_total") - total(before, "layer_fetched_bytes_total")
        print("    withheld %d, fetched %d" % (grown, fetched))
        if not 0.8 * fetched < grown <= fetched:
            raise Failure("%d bytes were withheld, of %d that were fetched" % (grown, fetched))
        text = run(BINARY, "explain", apart.name, "--address", node.ours).stdout
        if "although the node has it" not in text:
            raise Failure("it is not explained:\n" + text)

    def disk():
        def fresh():
            return scrape(node)["chunked_snapshotter_store_counted_timestamp_seconds"] > began
        began = float(run("date", "+%s.%N").stdout)
        wait_for("the store to be counted", fresh, 30)
        samples, status = scrape(node), json.loads(run(BINARY, "status", "--json", "--address", node.ours).stdout)
        held = total(samples, "store_bytes", state="used") + total(samples, "store_bytes", state="unused")
        if held != status["layer_bytes"] or total(samples, "store_layers") != status["layers"]:
            raise Failure("the page and status differ: %s, %s" % (held, status))
        on_disk = int(run("du", "-s", "--block-size=1", node.path("cs", "snapshots")).stdout.split()[0])
        # du counts blocks that layers share in each of them, and directories' blocks.
        if not 0.5 * on_disk <= held <= 1.05 * on_disk:
            raise Failure("%d bytes are told, %d are on the disk" % (held, on_disk))

    def health():
        for page, wanted in (("/healthz", 200), ("/readyz", 200), ("/", 404), ("/metrics/x", 404)):
            if get(node, page)[0] != wanted:
                raise Failure("%s: %s" % (page, get(node, page)))
        if get(node, "/metrics", "POST")[0] != 405:
            raise Failure("POST is answered")
        if os.stat(node.path("cs-metrics.sock")).st_mode & 0o777 != 0o600:
            raise Failure("others may open the socket")
        # A frame with an empty HealthCheckRequest; the answer's field 1 is 1, SERVING.
        answer = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "--unix-socket", node.ours, "-H", "content-type: application/grpc",
                                 "-H", "te: trailers", "--data-binary", "@-", "http://localhost/grpc.health.v1.Health/Check"],
                                input=b"\0" * 5, capture_output=True, timeout=20)
        if answer.stdout != b"\0\0\0\0\2\x08\1":
            raise Failure("grpc.health.v1 says %r" % (answer,))

    def dashboard():
        there = {name.split("{")[0] for name in scrape(node)}
        for name in ("grafana-dashboard.json", "prometheus-alerts.yml"):
            with open(os.path.join(DIST, name)) as f:
                missing = set(OURS.findall(f.read())) - there
            if missing:
                raise Failure("%s asks for what is not there: %s" % (name, sorted(missing)))

    def queried():
        prometheus = Prometheus(lab, scraped)
        scrapes = 'count_over_time(up{job="chunked-snapshotter"}[1m])'
        wait_for("scrapes", lambda: any(float(sample["value"][1]) >= 3 for sample in prometheus.ask(scrapes)))
        with open(os.path.join(DIST, "grafana-dashboard.json")) as f:
            asked = list(expressions(json.load(f)))
        empty = [expression for expression in asked if not prometheus.ask(expression)]
        if empty or len(asked) < 20:
            raise Failure("of %d, these give nothing: %s" % (len(asked), empty))
        # What is not there gives nothing, so that the question above is one.
        if prometheus.ask(asked[0].replace("fetched", "fetcht")):
            raise Failure("a metric that is not there gives something")
        rules = lambda: [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        wait_for("rules to be evaluated", lambda: all(rule["health"] != "unknown" for rule in rules()))
        wrong = {rule["name"]: (rule["health"], rule["state"]) for rule in rules() if rule["health"] != "ok" or rule["state"] == "firing"}
        if wrong or len(rules()) < 5:
            raise Failure("of %d alerts, these fail, or fire on a good day: %s" % (len(rules()), wrong))

    def remembered():
        node.nerdctl("pull", "-q", zipped.name)
        history = lambda: json.loads(run(BINARY, "history", "--json", "--address", node.ours).stdout)
        def look(pulls):
            names = [pull["image"].split("@")[0] for pull in pulls]
            # containerd told us repositories and digests, no tags.
            if names != [image.name.rsplit(":", 1)[0] for image in (first, second, apart, zipped)]:
                raise Failure("remembered are %s" % names)
            for pull, ways in zip(pulls, ({"chunked"}, {"chunked", "present"}, {"chunked", "present"}, {"whole", "present"})):
                if pull["outcome"] != "complete" or pull["client"] != "containerd, namespace default":
                    raise Failure("not a complete pull of containerd: %s" % pull)
                if not {layer["way"] for layer in pull["layers"]} <= ways:
                    raise Failure("the layers of %s came as %s" % (pull["image"], [layer["way"] for layer in pull["layers"]]))
        look(history())
        node.daemon.stop()
        # The file alone tells the same.
        look(json.loads(run(BINARY, "history", "--json", "--root", node.root).stdout))
        node.start_daemon()
        look(history())
        line = run(BINARY, "history", "--address", node.ours).stdout.splitlines()[1]
        if second.name.rsplit(":", 1)[0] not in line or "complete" not in line:
            raise Failure("not a line about the update: " + line)
        text = run(BINARY, "explain", second.name, "--address", node.ours).stdout
        if "by ranges" not in text or "from files of layers" not in text:
            raise Failure("the update is not explained:\n" + text)
        text = run(BINARY, "explain", zipped.name, "--address", node.ours).stdout
        if "no table of contents" not in text or "% of its files' bytes were here" not in text:
            raise Failure("what came whole is not explained:\n" + text)

    def watched():
        watch = subprocess.Popen([BINARY, "status", "--watch", "--json", "--address", node.ours], stdout=subprocess.PIPE, text=True)
        try:
            if json.loads(watch.stdout.readline()) != {"jobs": []}:
                raise Failure("there is no work")
        finally:
            watch.kill()
            watch.wait()
        done = run(BINARY, "status", "--watch", "--address", node.ours, check=False)
        if done.returncode != 1 or "terminal" not in done.stderr:
            raise Failure("bars without a terminal: %r" % (done,))

    yield "metrics: a pull and an update agree with the counting proxy", counted
    yield "metrics: what [reuse] keeps from being used is counted", withheld
    yield "metrics: the store's numbers agree with status and the disk", disk
    yield "metrics: health over HTTP and gRPC", health
    yield "metrics: the dashboard and the alerts ask for what there is", dashboard
    yield "metrics: Prometheus answers what the dashboard asks, and evaluates the alerts", queried
    yield "history: pulls are remembered over a restart, and explained", remembered
    yield "history: status --watch", watched
    node.stop()
