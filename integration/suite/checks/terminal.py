"""What a person sees: commands with progress bars on a pseudo-terminal of 80 columns, and without one."""
import random
import re

import images
import terminal
from checks import prepull
from lab import BINARY, Failure, run

BAR = re.compile(r"[0-9a-f]{12} [█░]{14} +[\d.]+ [KMG]?i?B of +[\d.]+ [KMG]?i?B +[\d.]+ [KMG]?i?B/s  (\w+)")


def checks(lab, registry):
    noise = random.Random(11)
    words = [noise.randbytes(noise.randrange(2, 9)).hex().encode() for _ in range(5000)]
    text = b" ".join(noise.choice(words) for _ in range(1_000_000))
    tars = [images.tar(lambda t, n=n: images.add(t, "srv/text-%d" % n, data=b"%d" % n + text)) for n in range(2)]
    layout = lab.path("terminal")
    images.layout(layout, "x", tars, ["/bin/hello"])

    def watched(*command, env=None):
        """What was seen of bars, by their last word, and the screen at the end."""
        words = set()

        def look(text):
            for line in text.splitlines():
                if "░" in line or "█" in line:
                    found = BAR.fullmatch(line)
                    if not found:
                        raise Failure("not a bar alone on its line: %r on\n%s" % (line, text))
                    words.add(found[1])
        code, screen = terminal.run([BINARY, *command], env=env, sees=look)
        left = screen.text()
        if code or "░" in left or "█" in left or re.search(r"layers? done$", left, re.MULTILINE):
            raise Failure("exit %d, and on the screen:\n%s" % (code, left))
        return words, screen

    def convert():
        target = "oci:%s:x" % lab.path("terminal-out")
        words, screen = watched("convert", "--level", "15", "--threads", "1", "oci:%s:x" % layout, target)
        if "converting" not in words:
            raise Failure("seen were only %s" % words)
        lines = screen.text().splitlines()
        if not lines[0].startswith(target) or not re.fullmatch(r"[\d.]+ MiB -> [\d.]+ MiB in [\d.]+ s", lines[-1]):
            raise Failure("not the report alone:\n" + screen.text())
        if sum(line.endswith("sent; converted") for line in lines) != 2:
            raise Failure("not two layers:\n" + screen.text())

    def pull():
        image = images.push(lab, registry, "terminal", tars, ["zstd:chunked"])["zstd:chunked"]
        config = lab.path("terminal.toml")
        with open(config, "w") as f:
            f.write("[registry]\nbandwidth = \"2MiB\"\n")
        words, screen = watched("pull", "--config", config, image.name, "--root", lab.path("terminal-store"))
        if "pulling" not in words:
            raise Failure("seen were only %s" % words)
        lines = screen.text().splitlines()
        if not lines[0].startswith(image.name) or not re.fullmatch(r"fetched .* of .*, .* not needed, in [\d.]+ s", lines[-1]):
            raise Failure("not the report alone:\n" + screen.text())

    def pull_by_the_daemon():
        image = images.push(lab, registry, "terminal-daemon", tars, ["zstd:chunked"])["zstd:chunked"]
        node = prepull.Slow(lab, "2.4", [registry], name="terminal-node")
        try:
            words, screen = watched("pull", image.name, "--address", node.ours, "--config", node.path("chunked.toml"))
        finally:
            node.stop()
        if "pulling" not in words:
            raise Failure("seen were only %s" % words)
        text = screen.text()
        if not text.startswith("pulling by the daemon on ") or not re.search(r"^fetched .* of .*, .* not needed, in [\d.]+ s$", text, re.M):
            raise Failure("not the word about the daemon and the report:\n" + text)

    def logs():
        for number, (env, coloured) in enumerate((({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False))):
            words, screen = watched("convert", "--log-level", "info", "--threads", "1", "--level", "12", "oci:%s:x" % layout,
                                    "oci:%s:x" % lab.path("terminal-log-%d" % number), env=env)
            if screen.styled != coloured:
                raise Failure("colours with %s: %s" % (env, screen.styled))
            if bool(words) != ("TERM" not in env):
                raise Failure("bars with %s: %s" % (env, words))
            whole = re.findall(r"^\d{4}-\d\d-\d\dT\S+ +INFO .*", screen.text(), re.MULTILINE)
            if len(whole) != screen.text().count(" INFO ") or len(whole) < 2:
                raise Failure("log lines are not on lines of their own:\n" + screen.text())

    def no_terminal():
        done = run(BINARY, "convert", "oci:%s:x" % layout, "oci:%s:x" % lab.path("terminal-none"))
        if done.stderr or "\x1b" in done.stdout or not done.stdout.endswith(" s\n"):
            raise Failure("without a terminal: %r" % ((done.stdout, done.stderr),))

    yield "terminal: bars of convert, and its report alone at the end", convert
    yield "terminal: bars of pull, and its report alone at the end", pull
    yield "terminal: bars of pull by the daemon, and its report at the end", pull_by_the_daemon
    yield "terminal: logs stand above the bars, with colours only if wanted", logs
    yield "terminal: without one there are no bars", no_terminal
