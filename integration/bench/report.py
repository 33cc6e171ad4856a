"""Medians, ratios, and what the machine was: Markdown to read, JSON to compute with."""
import json
import os
import platform
import statistics
import subprocess
import time

from lab import BINARY, ROOT, TOOLS
from rows import ROWS

CASES = ("cold", "update")
PEERS = ("overlayfs-gzip", "overlayfs-zstd", "reference")


def first_line(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT)
        return (done.stdout.strip().splitlines() or [""])[0]
    except OSError:
        return "not found"


def field(path, key):
    with open(path) as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith(key)), "unknown")


def system(filesystem):
    modules = {line.split()[-2]: line.split()[-1] for line in open(os.path.join(ROOT, "integration/tools/refcopy/go.mod"))
               if "go.podman.io" in line and "//" not in line}
    return {
        "processors": "%d × %s" % (os.cpu_count(), field("/proc/cpuinfo", "model name")),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "file system": filesystem + " on a loop device",
        "chunked-snapshotter": "%s, commit %s" % (first_line(BINARY, "--version"), first_line("git", "describe", "--always", "--dirty")),
        "containerd": first_line(os.path.join(TOOLS, "containerd-2.4", "containerd"), "--version"),
        "reference": ", ".join("%s %s" % m for m in sorted(modules.items())),
        "registry": first_line("docker-registry", "--version"),
    }


def medians(results):
    """{(row, case): {quantity: median}}"""
    return {key: {what: statistics.median(r[what] for r in runs) for what in runs[0]} for key, runs in results.items()}


def case_table(results, middle, case):
    lines = ["| %s | wall s | least to most | CPU s | wire MB | requests | peak RSS MB |" % case, "|---|---|---|---|---|---|---|"]
    for row, (title, _, _) in ROWS.items():
        if (row, case) not in middle:
            continue
        m, walls = middle[row, case], [r["wall"] for r in results[row, case]]
        lines.append("| %s | %.2f | %.2f to %.2f | %.2f | %.1f | %d | %.0f |" % (
            title, m["wall"], min(walls), max(walls), m["cpu"], m["wire"] / 1e6, m["requests"], m["rss"] / 1e6))
    return lines + [""]


def ratios(middle):
    """{(peer, ours, case): {quantity: peer's / ours}}"""
    found = {}
    for peer in PEERS:
        for ours in ("ours", "ours-gzip"):
            for case in CASES:
                if (peer, case) in middle and (ours, case) in middle:
                    found[peer, ours, case] = {what: middle[peer, case][what] / max(middle[ours, case][what], 1e-9)
                                               for what in ("wall", "cpu", "wire", "rss")}
    return found


def ratio_table(middle):
    found = ratios(middle)
    if not found:
        return []
    lines = ["How many times less ours takes:", "",
             "| against | ours is | wall, cold | CPU, cold | wire, cold | wall, update | CPU, update | wire, update |",
             "|---|---|---|---|---|---|---|---|"]
    for peer in PEERS:
        for ours in ("ours", "ours-gzip"):
            if (peer, ours, "cold") in found:
                cells = ["%.2f" % found[peer, ours, case][what] for case in CASES for what in ("wall", "cpu", "wire")]
                lines.append("| %s | %s | %s |" % (ROWS[peer][0], ROWS[ours][0], " | ".join(cells)))
    return lines + [""]


def markdown(facts, machine, rounds, results):
    middle = medians(results)
    lines = ["%d layers, %.0f MB of tar, %d files; update: %d upper layers rebuilt, %.1f %% of their files changed (%.1f %% of the image's)." % (
        facts["layers"], facts["tar_bytes"] / 1e6, facts["files"], facts["layers_rebuilt"],
        100 * facts["files_changed"] / facts["files_in_rebuilt_layers"], 100 * facts["files_changed"] / facts["files"]),
        "%d round%s, all rows in each; medians. Caches dropped before each pull; loopback network." % (rounds, "s" * (rounds > 1)), ""]
    for case in CASES:
        lines += case_table(results, middle, case)
    lines += ratio_table(middle)
    lines += ["%s: %s  " % item for item in machine.items()]
    return "\n".join(lines) + "\n"


def write(facts, machine, rounds, results):
    """Prints the tables and keeps them with every single figure; gives the path without extension."""
    text = markdown(facts, machine, rounds, results)
    directory = os.path.join(ROOT, "bench-results")
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, time.strftime("%Y%m%d-%H%M%S"))
    with open(path + ".md", "w") as f:
        f.write(text)
    middle = medians(results)
    with open(path + ".json", "w") as f:
        json.dump({"corpus": facts, "system": machine, "rounds": rounds,
                   "rows": [{"row": row, "case": case, "median": middle[row, case], "runs": runs} for (row, case), runs in results.items()],
                   "ratios": [{"peer": p, "ours": o, "case": c, **r} for (p, o, c), r in ratios(middle).items()]}, f, indent=1)
    print("\n" + text)
    return path
