"""Files of the host as a source: a Debian base image on a Debian host, counted at the registry; hostile hosts and images;
what is opened, seen by strace; which registry may use what."""
import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import tarfile
import threading
import time

import debian
import images
import trees
from lab import BINARY, STRACE, Failure, Node, run, wait_for

# A change time must be this old before a pass takes the file.
SETTLED = 3.2
RESOLVE = {"RESOLVE_BENEATH", "RESOLVE_NO_SYMLINKS", "RESOLVE_NO_MAGICLINKS", "RESOLVE_NO_XDEV"}
ROOT = {"RESOLVE_NO_SYMLINKS", "RESOLVE_NO_MAGICLINKS"}
# What any program opens to start, to resolve names and to find certificates; nothing of it depends on an image.
SYSTEM = re.compile(r"/(etc/(ld\.so\.cache|resolv\.conf|hosts|nsswitch\.conf|host\.conf|gai\.conf|localtime|ssl/.*|chunked-snapshotter/.*)"
                    r"|proc/.*|sys/(fs/cgroup|devices/system/cpu|kernel/mm)/.*|dev/(null|urandom|tty)"
                    r"|(usr/)?lib(64)?/(x86_64-linux-gnu/)?[^/]*\.so[.0-9]*|(usr/)?lib/(x86_64|aarch64)-linux-gnu/[^/]*\.so[.0-9]*"
                    r"|usr/(lib|share)/(ssl|ca-certificates|locale|terminfo)/.*|root/\.docker/.*)$")

# What is in the mount by which the start tries whether the root can hold layers; it is attached nowhere, so that its paths begin with it.
PROBE = re.compile(r"/(|plain|opaque|new)$")


def config(lab, name, text):
    path = lab.path(name + ".toml")
    with open(path, "w") as f:
        f.write('[pull]\ndurability = "none"\n' + text)
    return path


def ours(*arguments, check=True, strace=None, timeout=300):
    """Runs our binary; `strace` is a file for the calls that open something."""
    before = STRACE + ["-o", strace] if strace else []
    return run(*before, BINARY, *arguments, check=check, timeout=timeout)


def pull(image, root, settings, to=None, **more):
    arguments = ["pull", image.name, "--root", root, "--config", settings, "--json"] + (["--to", to] if to else [])
    return json.loads(ours(*arguments, **more).stdout)


def index(root, settings, **more):
    return json.loads(ours("host", "index", "--root", root, "--config", settings, "--json", **more).stdout)


def opened(log):
    """Every successful open in an strace log: (path, flags, resolve flags), path as the kernel found it."""
    found = []
    unfinished = {}
    with open(log, errors="replace") as f:
        for line in f:
            process, _, call = line.partition(" ")
            call = call.strip()
            if call.endswith("<unfinished ...>"):
                unfinished[process] = call[:-len("<unfinished ...>")]
                continue
            resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", call)
            if resumed:
                call = unfinished.pop(process, "") + resumed.group(1)
            done = re.match(r"(open|openat|openat2)\((.*)\)\s+= \d+<(.*)>$", call)
            if not done:
                continue
            resolve = re.search(r"resolve=([A-Z_|]+)", done.group(2))
            found.append((done.group(3), done.group(2), set(resolve.group(1).split("|")) if resolve else set()))
    if len(found) < 5:
        raise Failure("%s shows only %d opens: nothing was watched" % (log, len(found)))
    return found


def only_beneath(log, own, root, allowed):
    """Everything opened is our own, the system's, or an allowed file of the root, resolved without links and mounts. What is opened
    for reading is the inode that was looked at by such a path before, through the descriptor that stands for it."""
    taken, looked = set(), set()
    for path, arguments, resolve in opened(log):
        if "O_PATH" in arguments and RESOLVE <= resolve:
            looked.add(path)
        elif re.match(r"\d+</proc/\d+/fd>, ", arguments) and path in looked:
            resolve = RESOLVE
        if any(path == place or path.startswith(place + "/") for place in own) or path.startswith(("pipe:", "socket:", "anon_inode:")):
            continue
        if path == root or path.startswith(root + "/"):
            strict = RESOLVE if path != root else ROOT
            if strict <= resolve and (os.path.isdir(path) or path in allowed):
                taken.add(path)
                continue
        if PROBE.match(path) and (resolve & {"RESOLVE_IN_ROOT", "RESOLVE_BENEATH"} or "O_CREAT|O_EXCL" in arguments):
            continue
        # A look opens nothing: `--to` is reached so, step by step from the root.
        if "O_PATH" in arguments and not path.startswith(root):
            continue
        if not SYSTEM.match(path):
            raise Failure("opened %s by %s" % (path, arguments))
    return taken & set(allowed)


def put(root, name, data, mode=0o644):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, mode)
    return path


def noise(name, size=30000):
    seed = hashlib.sha256(name.encode()).digest()
    return b"".join(hashlib.sha256(seed + bytes([i % 256, i // 256])).digest() for i in range(size // 32 + 1))[:size]


def in_the_background(daemon):
    """The daemon's threads that read for later, and they alone, are at nice 19 and have no I/O class of their own: Linux derives one from it."""
    found = {}
    for thread in os.listdir("/proc/%d/task" % daemon):
        with open("/proc/%d/task/%s/stat" % (daemon, thread)) as f:
            name, fields = re.match(r"\d+ \((.*)\) (.*)", f.read()).groups()
        found[name] = int(fields.split()[16]), run("ionice", "-p", thread).stdout.split(":")[0].strip()
    low = {name for name, (nice, _) in found.items() if nice == 19}
    if low != {"indexer", "host-index", "scrub"} or any(found[name][1] != "none" for name in low):
        raise Failure("nice values and I/O classes: %s" % found)


@contextlib.contextmanager
def mounted(*arguments):
    run("mount", *arguments)
    try:
        yield
    finally:
        run("umount", arguments[-1])


def layer_bytes(ask, image):
    """Bytes of the image's layers that the registry sent since the last reset."""
    sent = ask("/stats")["body_of"]
    return sum(sent.get(layer, 0) for layer in image.layers)


def base_tar(lab):
    """The tar of a minimal Debian of this release, made by mmdebstrap from the archive and kept below .tools; and how
    many of its packages this host has in the same version."""
    release = run("sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME").stdout.strip()
    path = os.path.join(debian.CACHE, "minbase-%s.tar" % release)
    if not os.path.exists(path):
        os.makedirs(debian.CACHE, exist_ok=True)
        run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--include=usr-is-merged",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", release, path + ".new.tar",
            env={"TMPDIR": lab.mount, "SOURCE_DATE_EPOCH": "1700000000"}, timeout=900)
        os.rename(path + ".new.tar", path)
    with tarfile.open(path) as archive:
        status = next(archive.extractfile(e) for e in archive if e.name.lstrip("./") == "var/lib/dpkg/status").read().decode()
    fields = [dict(line.split(": ", 1) for line in part.splitlines() if re.match(r"[A-Z][^ ]*: ", line)) for part in status.split("\n\n")]
    base = {f["Package"]: f["Version"] for f in fields if "Version" in f}
    here = dict(line.split("\t") for line in run("dpkg-query", "-W", "-f", "${Package}\t${Version}\n").stdout.splitlines())
    return path, sum(here.get(name) == version for name, version in base.items()) / len(base)


def checks(lab, registry):
    address, ask = lab.proxy(registry)
    store = lab.path("host-store")
    on = config(lab, "host-on", "")
    off = config(lab, "host-off", '[host]\npolicy = "off"\n')

    def debian_on_debian():
        path, same = base_tar(lab)
        with open(path, "rb") as f:
            base = images.push(lab, registry, "minbase", [f.read()], ["zstd:chunked"])["zstd:chunked"].through(address)
        report = index(store, on)
        again = index(store, on)
        if again["hashed_files"] or again["files"] != report["files"]:
            raise Failure("the second pass was no incremental one: %s, then %s" % (report, again))
        ask("/reset")
        started = time.monotonic()
        done = pull(base, store, on, lab.path("base-on"))
        seconds = time.monotonic() - started
        counted = layer_bytes(ask, base)
        layer = base.manifest["layers"][0]
        size = layer["size"]
        metadata = sum(int(layer["annotations"][images_position("%s-position" % which)].split(":")[1]) for which in ("manifest", "tarsplit"))
        missing = size - done["bytes_reused"] - metadata
        print("    %d files indexed; %.1f %% of the packages have this host's version; layer of %d bytes: %d (%.1f %%) fetched, %.1f %% not; in %.1f s\n"
              "    the rest: %d bytes of files this host does not have and of tar headers between, %d of TOC and tar-split, %d of gaps" % (
                  report["files"], 100 * same, size, counted, 100 * counted / size, 100 - 100 * counted / size, seconds,
                  counted - metadata - max(0, counted - metadata - missing), metadata, max(0, counted - metadata - missing)))
        if done["bytes_from_host"] < size - counted - 0.05 * size:
            raise Failure("little came from the host: %s" % done)
        # A host of another age than the archive has other versions: then there is less to be had.
        if counted > 0.30 * size and same >= 0.5:
            raise Failure("%.1f %% of the layer was fetched" % (100 * counted / size))
        pull(base, lab.path("host-store-off"), off, lab.path("base-off"))
        lines, entries = trees.differences(lab.path("base-on"), lab.path("base-off"), {b"."})
        if lines or entries < 3000:
            raise Failure("%d of %d entries differ from a pull without the host:\n%s" % (len(lines), entries, "\n".join(lines[:20])))

    # A host of our own, with everything in it that must be left alone.
    root = lab.path("host", "usr")
    outside = lab.path("host", "outside")
    hostile = config(lab, "host-hostile", '[host]\npolicy = "any"\nroots = ["%s"]\n' % root)
    hostile_store = lab.path("hostile-store")

    def populate():
        good = {put(root, "bin/good%d" % i, noise("good%d" % i)) for i in range(40)}
        good.add(put(root, "lib/large", noise("large") * 200))
        put(outside, "secret", noise("secret"))
        put(outside, "world", noise("world"))
        put(root, "bin/setuid", noise("setuid"), 0o4755)
        put(root, "bin/setgid", noise("setgid"), 0o2755)
        put(root, "bin/unreadable", noise("unreadable"), 0o600)
        put(root, "bin/writable", noise("writable"), 0o666)
        put(root, "closed/inside", noise("inside"))
        os.chmod(os.path.join(root, "closed"), 0o700)
        os.chown(put(root, "bin/foreign", noise("foreign")), 1000, 1000)
        os.symlink("../../outside/world", os.path.join(root, "bin/link"))
        os.symlink("/proc/self/root" + outside, os.path.join(root, "magic"))
        os.symlink("../outside", os.path.join(root, "directory-link"))
        os.mkfifo(os.path.join(root, "fifo"), 0o644)
        os.mknod(os.path.join(root, "null"), 0o020666, os.makedev(1, 3))
        os.mknod(os.path.join(root, "disk"), 0o060644, os.makedev(7, 250))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.join(root, "socket"))
        listener.close()
        for name in ("bound", "other"):
            os.makedirs(os.path.join(root, name), exist_ok=True)
        put(root, "bound-file", b"")
        time.sleep(SETTLED)
        return good

    @contextlib.contextmanager
    def mounts():
        with mounted("--bind", outside, os.path.join(root, "bound")), \
                mounted("-t", "tmpfs", "none", os.path.join(root, "other")), \
                mounted("--bind", os.path.join(outside, "world"), os.path.join(root, "bound-file")):
            put(os.path.join(root, "other"), "file", noise("other"))
            time.sleep(SETTLED)
            yield

    NEVER = ("secret", "world", "setuid", "setgid", "unreadable", "writable", "inside", "foreign", "other")
    good = set()

    def image_of_contents(name, extra=()):
        """An image whose files have the contents of the host's, allowed or not, under names that try to lead out."""
        def build(t):
            images.add(t, "bin/", images.D, mode=0o755)
            for i in range(40):
                images.add(t, "bin/copy%d" % i, data=noise("good%d" % i), mode=0o750, uid=5, mtime=1600000000 + i)
            images.add(t, "large", data=noise("large") * 200)
            for which in NEVER:
                images.add(t, "never/" + which, data=noise(which))
            for where, kind, more in extra:
                images.add(t, where, kind, **more)
        return images.push(lab, registry, name, [images.tar(build)], ["zstd:chunked"])["zstd:chunked"].through(address)

    def compare_with_plain(image, name, **more):
        """Pulls with and without the host; both trees must be equal. Gives the report of the first."""
        on_tree, off_tree = lab.path(name + "-on"), lab.path(name + "-off")
        report = pull(image, more.pop("store", hostile_store), hostile, on_tree, **more)
        pull(image, lab.path(name + "-plain-store"), off, off_tree)
        # Directories that the image only implies have the time of the pull.
        directories = {os.path.relpath(os.fsencode(where), os.fsencode(on_tree)) for where, _, _ in os.walk(on_tree)}
        lines, entries = trees.differences(on_tree, off_tree, directories)
        if lines or entries < 40:
            raise Failure("%d of %d entries differ from a pull without the host:\n%s" % (len(lines), entries, "\n".join(lines[:20])))
        return report

    def hostile_host():
        good.update(populate())
        log = lab.path("index.strace")
        with mounts():
            report = index(hostile_store, hostile, strace=log)
        if report["files"] != len(good) or report["hashed_files"] != len(good):
            raise Failure("%d files qualify: %s" % (len(good), report))
        own = [hostile_store, BINARY, hostile]
        taken = only_beneath(log, own, root, good)
        if taken != good:
            raise Failure("not read: %s" % sorted(good - taken))
        expected = {"set-id": 2, "private": 2, "writable": 1, "owner": 1}
        if any(report["skipped"].get(reason) != number for reason, number in expected.items()):
            raise Failure("passed over: %s" % report["skipped"])
        if report["skipped"].get("other-mount", 0) < 2:
            raise Failure("mounts were entered: %s" % report["skipped"])

    def leading_out():
        """Entries whose names lead out of the layer, with contents that the host has."""
        return [("../../etc/shadow", images.tarfile.REGTYPE, {"data": noise("good1")}),
                ("etc/shadow", images.tarfile.REGTYPE, {"data": noise("good2")}),
                ("/abs/passwd", images.tarfile.REGTYPE, {"data": noise("good3")}),
                ("up", images.S, {"linkname": "../../../../../.." + outside}),
                ("up/planted", images.tarfile.REGTYPE, {"data": noise("good4")}),
                ("deep/er/../../../../x", images.tarfile.REGTYPE, {"data": noise("good5")}),
                ("jail", images.S, {"linkname": "/proc/self/root"}),
                ("jail/stolen", images.tarfile.REGTYPE, {"data": noise("world")})]

    def hostile_image():
        image = image_of_contents("hostile", leading_out())
        log = lab.path("pull.strace")
        before = sorted(os.listdir(outside))
        ask("/reset")
        report = compare_with_plain(image, "hostile", strace=log)
        if report["files_from_host"] < 41:
            raise Failure("the host's files were not used: %s" % report)
        own = [hostile_store, lab.path("hostile-on"), BINARY, hostile, lab.path("hostile-plain-store")]
        taken = only_beneath(log, own, root, good)
        if taken != good:
            raise Failure("not used: %s" % sorted(good - taken))
        if sorted(os.listdir(outside)) != before:
            raise Failure("the image wrote outside: %s" % os.listdir(outside))
        for name in os.listdir(os.path.join(root, "bin")):
            if os.lstat(os.path.join(root, "bin", name)).st_nlink != 1:
                raise Failure("%s was hard-linked" % name)

    def watched_daemon():
        """As the two before, by the daemon: its pass, and a pull through containerd."""
        if not good:
            good.update(populate())
            time.sleep(SETTLED)
        log = lab.path("daemon.strace")
        node = Node(lab, "2.4", [address], name="watched-node", strace=log,
                    settings='[host]\npolicy = "any"\nroots = ["%s"]\ndelay = "0s"\n' % root)
        try:
            with mounts():
                passed = lambda: json.loads(ours("status", "--address", node.ours, "--json").stdout)["host"]["pass_finished"]
                wait_for("the pass to end", passed, 60)
                image = image_of_contents("watched", leading_out())
                node.nerdctl("pull", "-q", image.name)
                told = re.findall(r'"files_from_host":(\d+)', node.daemon.text())
                if sum(map(int, told)) < 41:
                    raise Failure("the host's files were not used: %s" % told)
            node.daemon.stop()
            def ended():
                with open(log, "rb") as f:
                    f.seek(-200, os.SEEK_END)
                    return b"+++ " in f.read().splitlines()[-1]
            wait_for("strace to end", ended)
            taken = only_beneath(log, [node.dir, BINARY], root, good)
            if taken != good:
                raise Failure("not used: %s" % sorted(good - taken))
            for name in os.listdir(os.path.join(root, "bin")):
                if os.lstat(os.path.join(root, "bin", name)).st_nlink != 1:
                    raise Failure("%s was hard-linked" % name)
        finally:
            node.stop()

    def changed_before():
        """Between the pass and the pull every file changes in another way; the tree must be the image's."""
        victims = sorted(path for path in good if "/bin/" in path)
        for i, path in enumerate(victims):
            status = os.stat(path)
            if i % 5 == 0:  # in place, times put back
                with open(path, "r+b") as f:
                    f.write(b"CHANGED")
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            elif i % 5 == 1:
                os.truncate(path, 5)
            elif i % 5 == 2:
                os.unlink(path)
                os.symlink(os.path.join(outside, "secret"), path)
            elif i % 5 == 3:
                os.unlink(path)
                os.mkfifo(path)
            else:
                os.rename(os.path.join(outside, "world"), path)
                put(outside, "world", noise("world"))
        log = lab.path("changed.strace")
        image = image_of_contents("changed")
        fresh = lab.path("changed-store")
        os.makedirs(fresh)
        run("cp", os.path.join(hostile_store, "host.db"), fresh)
        report = compare_with_plain(image, "changed", store=fresh, strace=log)
        if report["files_from_host"] != 1:
            raise Failure("only one file is left unchanged: %s" % report["files_from_host"])
        only_beneath(log, [fresh, lab.path("changed-on"), BINARY, hostile], root, {os.path.join(root, "lib/large"), *victims})
        left = json.loads(ours("host", "status", "--root", fresh, "--config", hostile, "--json").stdout)["files"]
        if left != 1:
            raise Failure("%d changed files are still indexed" % (left - 1))

    def changed_meanwhile():
        """A large file is written to in place, over and over, while it is copied."""
        path = os.path.join(root, "lib/large")
        data = noise("large") * 200
        stop = threading.Event()
        def vandal():
            while not stop.is_set():
                with open(path, "r+b") as f:
                    for at in range(0, len(data), 500000):
                        f.seek(at)
                        f.write(b"vandal")
                    f.seek(0)
                    f.write(data)
        image = image_of_contents("meanwhile")
        for i in range(6):
            fresh = lab.path("meanwhile-store%d" % i)
            with open(path, "r+b") as f:
                f.write(data)
            time.sleep(SETTLED)
            index(fresh, hostile)
            stop.clear()
            thread = threading.Thread(target=vandal)
            if i:
                thread.start()
            try:
                to = lab.path("meanwhile-on%d" % i)
                report = pull(image, fresh, hostile, to)
            finally:
                stop.set()
                if i:
                    thread.join()
            if not i and report["files_from_host"] < 1:
                raise Failure("undisturbed, the large file is taken from the host: %s" % report)
            with open(os.path.join(to, "large"), "rb") as f:
                if f.read() != data:
                    raise Failure("the tree has a damaged file")

    def domains():
        """Which registry may use what: its own layers, those of others it is given, files of the host."""
        other, ask_other = lab.proxy(registry)
        v1 = images.push(lab, registry, "domain1", images.application(1), ["zstd:chunked"])["zstd:chunked"]
        v2 = images.push(lab, registry, "domain2", images.application(2), ["zstd:chunked"])["zstd:chunked"]
        big = v2.manifest["layers"][1]["size"]
        def fetched(name, text, first, second):
            settings, place = config(lab, "domain-" + name, text), lab.path("domain-" + name)
            pull(v1.through(first), place, settings)
            ask("/reset"), ask_other("/reset")
            pull(v2.through(second), place, settings)
            return layer_bytes(ask if second == address else ask_other, v2) / big
        rule = '[reuse]\nlayers = "none"\n[[reuse.domains]]\nregistries = ["%s"]\nlayers = %s\n'
        for name, text, first, second, little in (
                ("own", "", address, address, True), ("foreign", "", address, other, False),
                ("all", '[reuse]\nlayers = "all"\n', address, other, True), ("none", '[reuse]\nlayers = "none"\n', address, address, False),
                ("named", rule % (other, json.dumps([address])), address, other, True),
                ("unnamed", rule % (other, json.dumps([address])), other, address, False)):
            share = fetched(name, text, first, second)
            if (share < 0.2) != little:
                raise Failure("%s: %.0f %% of the layer was fetched" % (name, 100 * share))
        hidden = config(lab, "domain-host", '[reuse]\nhost_files = false\n[host]\npolicy = "any"\nroots = ["%s"]\n' % root)
        place = lab.path("domain-host")
        index(place, hidden)
        if pull(image_of_contents("domain-host"), place, hidden)["files_from_host"]:
            raise Failure("a domain without host files used some")

    def in_the_daemon():
        """The daemon indexes in the background, says how far it is, and containerd's pulls use what it found."""
        put(root, "lib/large", noise("large") * 200)
        for i in range(40):
            path = os.path.join(root, "bin/good%d" % i)
            if os.path.lexists(path):
                os.unlink(path)
            put(root, "bin/good%d" % i, noise("good%d" % i))
        time.sleep(SETTLED)
        node = Node(lab, "2.4", [address], name="host-node",
                    settings='[host]\npolicy = "any"\nroots = ["%s"]\ndelay = "0s"\nrate = "600KiB"\n' % root)
        try:
            def status():
                return json.loads(ours("status", "--address", node.ours, "--json").stdout)["host"]
            wait_for("a pass to begin", lambda: status()["running"])
            busy = ours("host", "index", "--root", node.root, "--config", hostile, check=False)
            if busy.returncode != 1 or "running already" not in busy.stderr:
                raise Failure("two passes at once: %s" % busy)
            wait_for("the pass to end", lambda: status()["pass_finished"], 60)
            if status()["files"] != 41:
                raise Failure("41 files qualify: %s" % status())
            in_the_background(node.daemon.pid)
            image = image_of_contents("daemon")
            ask("/reset")
            node.nerdctl("pull", "-q", image.name)
            counted, size = layer_bytes(ask, image), image.manifest["layers"][0]["size"]
            if counted > 0.5 * size:
                raise Failure("%d of %d bytes were fetched" % (counted, size))
            if '"files_from_host":41' not in node.daemon.text():
                raise Failure("the log does not tell what came from the host")
        finally:
            node.stop()

    yield "a Debian base image on a Debian host: at most 30 % is fetched", debian_on_debian
    yield "a pass over a hostile host opens nothing but what qualifies", hostile_host
    yield "an image that names host paths gets none of them", hostile_image
    yield "the daemon opens nothing but what qualifies, in its pass and in a pull through containerd", watched_daemon
    yield "host files changed since the pass are forgotten and fetched", changed_before
    yield "host files changed while they are copied do no harm", changed_meanwhile
    yield "reuse domains: which registry may use what", domains
    yield "the daemon indexes host files and pulls use them", in_the_daemon


def images_position(name):
    return "io.github.containers.zstd-chunked." + name
