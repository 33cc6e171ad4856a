"""The pages that users read, as the suite sees them: which blocks they have, and which are run.

Pure: text in, blocks or complaints out; checks/pages.py plays them. A block is fenced and says what it is:

    ```sh                                       run, in the order of the page, in one shell
    ```sh expect="a text"                       and the text must be in what it prints
    ```sh on="1.6 1.7"                          run with these containerds only
    ```sh not-run="needs a kubelet"             not run, for that reason
    ```toml ours                                settings of ours: `chunked-snapshotter config` must accept them
    ```toml not-run="the registry's own"        somebody else's file; the same for yaml, json and rust
    ```text                                     what is printed, or drawn: no commands

`<!-- run: 1.6 1.7 2.4 -->` says with which containerds a page is run; the pages before it in docs/README.md are typed on the
same machine before.
"""
import dataclasses
import re

VERSIONS = ("1.6", "1.7", "2.4")
FENCE = re.compile(r"^( *)(`{3,}|~{3,})(.*)$")
ATTRIBUTE = re.compile(r'\s+([a-z-]+)(?:="([^"]*)")?')
RUN = re.compile(r"^<!-- run:(.*)-->$")
ITEM = re.compile(r"^( *(?:[-*+]|\d+[.)]) +)\S")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Language: attributes it may have, and whether it must have one of them.
LANGUAGES = {"sh": ({"expect", "on", "not-run"}, False), "toml": ({"ours", "not-run"}, True), "yaml": ({"not-run"}, True),
             "json": ({"not-run"}, True), "rust": ({"not-run"}, True), "text": (set(), False)}
# What a line of a text block may not begin with: commands stand in blocks that are run, or say why not.
COMMANDS = {"$", "#", "apt", "apt-get", "cargo", "cat", "chunked-snapshotter", "containerd", "cp", "crictl", "ctr", "curl", "docker",
            "docker-registry", "git", "install", "journalctl", "kubectl", "make", "mkdir", "nerdctl", "podman", "rm", "sed", "skopeo", "sudo",
            "systemctl"}


@dataclasses.dataclass
class Block:
    line: int
    language: str
    attributes: dict
    text: str


@dataclasses.dataclass
class Page:
    name: str
    versions: tuple
    blocks: list
    complaints: list

    def played(self, version):
        """The blocks that are typed on a machine with this containerd."""
        return [block for block in self.blocks if block.language == "sh" and "not-run" not in block.attributes
                and version in block.attributes.get("on", version).split()]


def parse(name, text):
    """A page's blocks, and what is wrong with it, by line."""
    page = Page(name, (), [], [])
    complain = lambda line, what: page.complaints.append("%s:%d: %s" % (name, line, what))
    lines = iter(enumerate(text.splitlines(), 1))
    margin, before = 0, ""
    for number, line in lines:
        fence = FENCE.match(line)
        if fence:
            read_block(page, complain, number, fence, lines)
            before = ""
            continue
        run = RUN.match(line)
        if run:
            page.versions = tuple(run.group(1).split())
            if not page.versions or set(page.versions) - set(VERSIONS):
                complain(number, "run: names none of %s, or others" % ", ".join(VERSIONS))
        indent = len(line) - len(line.lstrip(" "))
        if line.strip():
            if indent < margin and not before:
                margin = 0
            if not before and indent - margin >= 4:
                complain(number, "an indented block: fence it, and say what it is")
            elif ITEM.match(line):
                # Inside an item of a list its text's column counts as the margin.
                margin = len(ITEM.match(line).group(1))
            if "<pre" in line:
                complain(number, "<pre>: fence it, and say what it is")
        before = line.strip()
    for block in page.blocks:
        if block.language == "sh" and "not-run" not in block.attributes and not page.versions:
            complain(block.line, "it would be run, but the page does not say with what: <!-- run: VERSIONS -->")
    return page


def read_block(page, complain, number, fence, lines):
    indent, mark, info = fence.groups()
    body = []
    for _, line in lines:
        if line.strip().startswith(mark) and not line.strip().strip(mark[0]):
            break
        body.append(line[len(indent):] if line.startswith(indent) else line.lstrip(" "))
    else:
        complain(number, "a block without an end")
    language = info.strip().split(" ")[0]
    rest = info.strip()[len(language):]
    attributes = {key: value for key, value in ATTRIBUTE.findall(rest)}
    if ATTRIBUTE.sub("", rest).strip():
        complain(number, "not understood: %s" % info.strip())
    if language not in LANGUAGES:
        return complain(number, "%s: a block is one of %s" % (language or "no language", ", ".join(LANGUAGES)))
    known, wanted = LANGUAGES[language]
    if set(attributes) - known:
        complain(number, "unknown: %s" % ", ".join(sorted(set(attributes) - known)))
    if wanted and not attributes:
        complain(number, "neither checked nor marked: one of %s" % ", ".join(sorted(known)))
    if any(not attributes[key].strip() for key in set(attributes) - {"ours"}):
        complain(number, "an attribute without a value")
    if set(attributes.get("on", "").split()) - set(VERSIONS):
        complain(number, "on: is for %s" % ", ".join(VERSIONS))
    if language == "text":
        for offset, line in enumerate(body, 1):
            if line.split() and line.split()[0] in COMMANDS:
                complain(number + offset, "a command in a text block: %s" % line.strip())
    page.blocks.append(Block(number, language, attributes, "\n".join(body) + "\n"))


def links(text):
    """Relative links: (line, path, anchor)."""
    for number, line in enumerate(text.splitlines(), 1):
        for target in LINK.findall(line):
            if "://" not in target and not target.startswith("mailto:"):
                path, _, anchor = target.partition("#")
                yield number, path, anchor


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    fenced, found = False, set()
    for line in text.splitlines():
        if FENCE.match(line):
            fenced = not fenced
        elif line.startswith("#") and not fenced:
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip()).lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found
