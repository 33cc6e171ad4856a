"""README and docs: every block of commands is typed on a machine of its own, or says why not.

A page's commands are typed as they stand: the machine has its own /etc, /run, /var, /usr/local, network and processes
(machine/init), so that nothing has to be replaced. What stands in for what a test machine has not is this table:
"""
import json
import os
import re
import shutil
import subprocess

import images
import pages
import servers
from lab import BINARY, ROOT, TOOLS, Failure, run, wait_for

# What a page says                        what is there instead
STAND_INS = {
    "systemctl, journalctl": "machine/systemctl, which speaks to machine/init",
    "registry.example, docker.io, registry.k8s.io": "one docker-registry on 127.0.0.1:443 with a certificate of the test's CA",
    "registry.example/app:v1, :v2": "images.application: two layers, a program that says which version it is, and 400 files",
    "docker.io/library/hello-world": "the same as registry.example/app:v1",
    "registry.k8s.io/pause": "a program that sleeps",
}
HOSTS = ("registry.example", "registry-1.docker.io", "registry.k8s.io")
# The versions of the pause image that containerds of these lines ask for.
PAUSES = ("3.6", "3.8", "3.10.2")
CHECKOUT = "/root/chunked-snapshotter"
# The file that Debian's containerd comes with, and one for 2.x that an administrator wrote. A test machine may not have the
# capability to lower a pod's OOM score.
CONFIGURATION = {"1": """version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    restrict_oom_score_adj = true
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
""", "2": """version = 3
imports = ["/etc/containerd/conf.d/*.toml"]

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
"""}
REGISTRY = """version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: /srv/registry, maxthreads: 100}
  delete: {enabled: true}
http: {addr: "127.0.0.1:443", tls: {certificate: /etc/registry.crt, key: /etc/registry.key}}
"""
SERVICE = "[Service]\nExecStart=%s\n"
# One shell types a whole page. What a block prints goes to a file of its own.
TYPING = """set -eo pipefail
cd %s
for block in %s/*.sh; do
  echo "$block" > %s/at
  source "$block" > "$block.out" 2>&1 < /dev/null
done
"""


def read(path):
    with open(path, errors="replace") as f:
        return f.read()


class Machine:
    """A machine with containerd of one line, and nothing of ours installed."""

    def __init__(self, lab, version, name=None):
        self.lab, self.version, name = lab, version, name or version
        self.directory = lab.path("machine-" + name)
        os.makedirs(self.directory)
        authority = servers.Authority(os.path.join(self.directory, "ca"))
        certificate, key = authority.issue("registry", ",".join("DNS:" + host for host in HOSTS))
        containerd = "/usr/bin/containerd" if version == "1.6" else "/opt/containerd/bin/containerd"
        files = {
            "/etc/containerd/config.toml": CONFIGURATION[version[0]],
            "/etc/systemd/system/containerd.service": SERVICE % containerd + "Type=notify\n",
            "/etc/systemd/system/registry.service": SERVICE % "docker-registry serve /etc/registry.yml",
            "/etc/registry.yml": REGISTRY,
            "/etc/registry.crt": read(certificate), "/etc/registry.key": read(key),
            "/etc/ssl/certs/ca-certificates.crt": read(authority.certificate),
            "/etc/hosts": "127.0.0.1 localhost %s\n" % " ".join(HOSTS),
        }
        machine = os.path.join(ROOT, "integration", "suite", "machine", "systemctl")
        binds = {"/opt/tools/systemctl": machine, "/opt/tools/journalctl": machine, "/srv/registry": lab.path("registry"),
                 CHECKOUT + "/config": os.path.join(ROOT, "config"),
                 CHECKOUT + "/target/release/chunked-snapshotter": BINARY}
        binds.update({"/opt/tools/" + name: os.path.join(TOOLS, name) for name in ("nerdctl", "crictl")})
        if version != "1.6":
            binds.update({"/opt/containerd/bin/" + name: os.path.join(TOOLS, "containerd-" + version, name)
                          for name in ("containerd", "ctr", "containerd-shim-runc-v2")})
        plan = {"root": os.path.join(self.directory, "root"), "binds": binds, "files": files, "start": ["registry.service", "containerd.service"],
                "appended": ["/etc/ssl/certs/ca-certificates.crt"],
                "environment": {"PATH": "/usr/local/sbin:/usr/local/bin:/opt/containerd/bin:/opt/tools:/usr/sbin:/usr/bin:/sbin:/bin",
                                "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}}
        self.environment = plan["environment"]
        with open(os.path.join(self.directory, "plan.json"), "w") as f:
            json.dump(plan, f)
        self.process = lab.start("machine-" + name + "-init", [
            "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", os.path.join(ROOT, "integration", "suite", "machine", "init"),
            os.path.join(self.directory, "plan.json")])
        wait_for("the machine", self.up, 60)

    def up(self):
        if not self.process.alive():
            raise Failure("the machine ended:\n" + self.process.text()[-3000:])
        if not os.path.exists(os.path.join(self.directory, "root", "var", "log", "containerd.service.log")):
            return False
        return self.enter("test", "-S", "/run/systemctl.sock", check=False).returncode == 0

    def enter(self, *command, check=True, timeout=120):
        children = read("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)).split()
        into = ["nsenter", "--mount", "--net", "--pid", "--target", children[0], "--root", "--wd", "env", "-i"]
        into += ["%s=%s" % item for item in self.environment.items()]
        done = subprocess.run([*into, *command], capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode:
            raise Failure("%s: exit %d\n%s%s" % (command, done.returncode, done.stdout, done.stderr))
        return done

    def play(self, page):
        """Types a page's blocks; every one must end well, and print what the page says that it does."""
        name = page.name.replace("/", "-")
        inside, outside = "/srv/" + name, os.path.join(self.directory, "root", "srv", name)
        os.makedirs(outside)
        blocks = page.played(self.version)
        for number, block in enumerate(blocks):
            with open(os.path.join(outside, "%03d.sh" % number), "w") as f:
                f.write(block.text)
        done = self.enter("bash", "-c", TYPING % (CHECKOUT, inside, inside), check=False, timeout=300)
        for number, block in enumerate(blocks):
            output = os.path.join(outside, "%03d.sh.out" % number)
            where = "%s:%d, containerd %s" % (page.name, block.line, self.version)
            said = read(output) if os.path.exists(output) else ""
            if done.returncode and read(os.path.join(outside, "at")).strip().endswith("/%03d.sh" % number):
                raise Failure("%s: exit %d\n%s\nit said:\n%s%s" % (where, done.returncode, block.text, said, done.stderr))
            if block.attributes.get("expect", "") not in said:
                raise Failure("%s: no %r in:\n%s" % (where, block.attributes["expect"], said))
        return len(blocks)

    def stop(self):
        # Process 1 of the machine goes with unshare, and the kernel ends all others there.
        if self.process.alive():
            self.process.kill()
        self.lab.processes.remove(self.process)
        wait_for("the machine to end", lambda: shutil.rmtree(self.directory, ignore_errors=True) or not os.path.exists(self.directory))


def names():
    """The pages, in the order in which they are typed on one machine: docs/README.md names all of docs."""
    order = re.findall(r"\]\(([a-z0-9-]+\.md)[)#]", read(os.path.join(ROOT, "docs", "README.md")))
    order = ["docs/" + name for name in dict.fromkeys(order)]
    there = {"docs/" + name for name in os.listdir(os.path.join(ROOT, "docs")) if name.endswith(".md")} - {"docs/README.md"}
    if set(order) != there:
        raise Failure("docs/README.md names %s" % ", ".join(sorted(set(order) ^ there)))
    return [*order, "docs/README.md", "README.md", "config/README.md", "SECURITY.md", "CONTRIBUTING.md"]


def parsed():
    return [pages.parse(name, read(os.path.join(ROOT, name))) for name in names()]


# A text, and words of the complaint about it; none for a text that is right.
PARSED = (
    ('<!-- run: 1.6 -->\n```sh\ntrue\n```', None),
    ('```sh\ntrue\n```', "does not say with what"),
    ('<!-- run: 3.0 -->\n```sh\ntrue\n```', "names none of"),
    ('```sh not-run="needs a kubelet"\nkubectl get pods\n```', None),
    ('```sh not-run=""\nkubectl get pods\n```', "without a value"),
    ('```sh notrun="needs a kubelet"\nkubectl get pods\n```', "unknown: notrun"),
    ('```sh not run\nkubectl get pods\n```', "unknown"),
    ('```sh expect="unended\ntrue\n```', "not understood"),
    ('<!-- run: 1.6 -->\n```sh on="1.8"\ntrue\n```', "on: is for"),
    ('```\nmake test\n```', "no language"),
    ('```bash\nmake test\n```', "bash: a block is one of"),
    ('```sh\ntrue', "without an end"),
    ('~~~sh not-run="x"\n```\n~~~', None),
    ('    make test', "an indented block"),
    ('Text.\n\n    make test', "an indented block"),
    ('Text,\n    still the same paragraph', None),
    ('- An item\n\n  its second paragraph', None),
    ('- An item\n\n      make test', "an indented block"),
    ('1. An item\n\n   its second paragraph\n\nText.\n\n    make test', ":7: an indented block"),
    ('- An item\n  - below it\n\n    its second paragraph', None),
    ('<pre>make test</pre>', "<pre>"),
    ('```toml ours\n[log]\n```', None),
    ('```toml\n[log]\n```', "neither checked nor marked"),
    ('```text\nok  3\n$ make test\n```', ":3: a command in a text block"),
    ('```text\nmake test\n```', "a command in a text block"),
)


def checks(lab, registry):
    def parser():
        for text, complaint in PARSED:
            found = pages.parse("page", text).complaints
            if (complaint is None) != (not found) or complaint and complaint not in found[0]:
                raise Failure("%r: %s, not %s" % (text, found, complaint))
        page = pages.parse("page", '<!-- run: 1.6 2.4 -->\n```sh on="1.6" expect="a b"\none\n```\n\n- Item\n\n  ```sh\n  two\n  ```\n')
        if [b.text for b in page.played("1.6")] != ["one\n", "two\n"] or [b.text for b in page.played("2.4")] != ["two\n"]:
            raise Failure("played are %s" % page.blocks)
        if page.blocks[0].attributes != {"on": "1.6", "expect": "a b"} or page.versions != ("1.6", "2.4") or page.blocks[1].line != 8:
            raise Failure("read as %s" % page)
        if pages.anchors("# What `a` is, and [b](c.md)\n```sh\n# d\n```\n") != {"what-a-is-and-b"}:
            raise Failure("anchors are %s" % pages.anchors("# What `a` is, and [b](c.md)\n```sh\n# d\n```\n"))

    def marked():
        complaints = [complaint for page in parsed() for complaint in page.complaints]
        if complaints:
            raise Failure("\n".join(complaints))

    def linked():
        broken = []
        for name in [*names(), "ARCHITECTURE.md"]:
            text = read(os.path.join(ROOT, name))
            for line, path, anchor in pages.links(text):
                target = os.path.normpath(os.path.join(ROOT, os.path.dirname(name), path)) if path else os.path.join(ROOT, name)
                if not os.path.exists(target) or anchor and anchor not in pages.anchors(read(target)):
                    broken.append("%s:%d: %s" % (name, line, path + ("#" + anchor if anchor else "")))
        if broken:
            raise Failure("nothing is there:\n" + "\n".join(broken))

    def texts():
        """The error texts of ours in the page that goes by them are in the program; `…` stands for anything."""
        source = ""
        for top in ("plugin", "config"):
            for directory, _, files in os.walk(os.path.join(ROOT, top)):
                source += "".join(read(os.path.join(directory, name)) for name in files if name.endswith(".rs"))
        # Strings go on after a backslash, and escape quotes.
        source = re.sub(r"\\\n\s*", "", source)
        section = read(os.path.join(ROOT, "docs", "troubleshooting.md")).split("\n## What we say\n")[1].split("\n## ")[0]
        cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        parts = [part.strip(" :;,") for cell in cells for text in re.findall("`([^`]+)`", cell) for part in text.split("…")]
        gone = [part for part in parts if part not in source]
        if gone or len(cells) < 10:
            raise Failure("of %d texts, nothing says these: %s" % (len(cells), gone))

    def settings():
        number = 0
        for page in parsed():
            for block in page.blocks:
                if block.language == "toml" and "ours" in block.attributes:
                    number += 1
                    path = lab.path("settings-%d.toml" % number)
                    with open(path, "w") as f:
                        f.write(block.text)
                    done = run(BINARY, "config", path, check=False)
                    if done.returncode:
                        raise Failure("%s:%d: %s" % (page.name, block.line, done.stderr))
        if not number:
            raise Failure("no page has settings of ours")

    def lacking():
        """`make demo` and `make test` look at the machine first, and say all that it lacks."""
        needs = os.path.join(ROOT, "integration", "tools", "needs")
        run(needs, "test")
        small = lab.disk("ext4", "64M")
        for mode in ("demo", "test"):
            done = run(needs, mode, env={"CARGO": "cargo-that-is-not-there", "TMPDIR": small}, check=False)
            if done.returncode != 1 or not all(words in done.stderr for words in ("make %s lacks" % mode, "- cargo: ", "- disk: ", small)):
                raise Failure("exit %d: %s" % (done.returncode, done.stderr))

    def noticed():
        """What fails, and what says something else than the page says, is a failure of the page."""
        machine = Machine(lab, "2.4", "faults")
        try:
            for number, (block, words) in enumerate((("sh\nfalse | cat\ntrue", "exit 1"), ('sh expect="two"\necho one', "no 'two' in:\none"))):
                page = pages.parse("page-%d" % number, "<!-- run: 2.4 -->\n```sh\ntrue\n```\n```%s\n```\n" % block)
                try:
                    machine.play(page)
                except Failure as failure:
                    if "%s:5, containerd 2.4" % page.name not in str(failure) or words not in str(failure):
                        raise
                else:
                    raise Failure("passed over: %r" % block)
        finally:
            machine.stop()

    def typed(version):
        machine = Machine(lab, version)
        try:
            for page in parsed():
                if version in page.versions and page.played(version):
                    print("    %s: %d blocks" % (page.name, machine.play(page)), flush=True)
        finally:
            machine.stop()

    yield "pages: the parser sees every kind of block", parser
    yield "pages: every block of commands is run, or says why not", marked
    yield "pages: links lead somewhere", linked
    yield "pages: our error texts are those of the program", texts
    yield "pages: settings in pages are accepted", settings
    yield "make says at once what a machine lacks", lacking
    app1, app2 = images.application(1), images.application(2)
    for repository, tag, layers, command in (
            ("app", "v1", app1, ["/bin/hello"]), ("app", "v2", app2, ["/bin/hello"]), ("library/hello-world", "latest", app1, ["/bin/hello"]),
            *[("pause", version, app1[:1], ["/bin/hello", "sleep"]) for version in PAUSES]):
        layout = lab.path("oci-%s-%s" % (repository.replace("/", "-"), tag))
        images.layout(layout, "image", layers, command)
        run(os.path.join(TOOLS, "refcopy"), "--compress", "gzip", "oci:%s:image" % layout, "docker://%s/%s:%s" % (registry, repository, tag))
    yield "pages: a command that fails is noticed", noticed
    for version in pages.VERSIONS:
        yield "pages: typed on a new machine with containerd " + version, lambda v=version: typed(v)
