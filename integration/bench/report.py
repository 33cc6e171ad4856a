"""Medians, ratios, and what the machine was: Markdown to read, JSON to compute with, a chart to look at."""
import json
import os
import platform
import statistics
import subprocess
import time

import chart
from lab import BINARY, ROOT, TOOLS
from rows import ROWS

PEERS = ("overlayfs-gzip", "overlayfs-zstd", "reference", "soci")


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
    lines = ["| %s | wall s | least to most | CPU s | wire MB | requests | server CPU s | daemon's peak MB | with client MB |" % case,
             "|---|---|---|---|---|---|---|---|---|"]
    for row, (title, _, _) in ROWS.items():
        if (row, case) not in middle:
            continue
        m, walls = middle[row, case], [r["wall"] for r in results[row, case]]
        lines.append("| %s | %.2f | %.2f to %.2f | %.2f | %.1f | %d | %.2f | %.0f | %.0f |" % (
            title, m["wall"], min(walls), max(walls), m["cpu"], m["wire"] / 1e6, m["requests"], m["server_cpu"],
            m["daemon_rss"] / 1e6, m["rss"] / 1e6))
    return lines + [""]


def ratios(results):
    """{(peer, ours, case): {quantity: median of peer's / ours, round by round}}"""
    found = {}
    for (peer, case), theirs in results.items():
        for ours in ("ours", "ours-gzip"):
            if peer in PEERS and (ours, case) in results:
                pairs = list(zip(theirs, results[ours, case]))
                found[peer, ours, case] = {what: statistics.median(t[what] / max(o[what], 1e-9) for t, o in pairs)
                                           for what in ("wall", "cpu", "wire")}
    return found


def ratio_table(results, cases):
    found = ratios(results)
    lines = ["How many times less ours takes (medians of the rounds' ratios):", "",
             "| against | ours is | " + " | ".join("%s: wall, CPU, wire" % case for case in cases) + " |", "|---|---|" + "---|" * len(cases)]
    for peer in PEERS:
        for ours in ("ours", "ours-gzip"):
            if (peer, ours, cases[0]) in found:
                cells = [", ".join("%.2f" % found[peer, ours, case][what] for what in ("wall", "cpu", "wire")) for case in cases]
                lines.append("| %s | %s | %s |" % (ROWS[peer][0], ROWS[ours][0], " | ".join(cells)))
    own = ["%s %.2f" % (case, statistics.median(c["wall"] / u["wall"] for c, u in zip(results["ours", cases[0]], results["ours", case])))
           for case in cases[1:]] if ("ours", cases[0]) in results else []
    if own:
        lines += ["", "Our first pull takes that many times our later ones: %s." % ", ".join(own)]
    return lines + [""] if found or own else []


def cell_text(title, facts, results):
    middle, cases = medians(results), list(dict.fromkeys(case for _, case in results))
    lines = ["### " + title, "", "%d layers, %.0f MB of tar, %d files." % (facts["layers"], facts["tar_bytes"] / 1e6, facts["files"])]
    for case, change in facts["changes"].items():
        lines.append("%s: %d layers rebuilt, %d of their %d files new." % (case, change["layers"], change["files_new"], change["files"]))
    lines.append("")
    for case in cases:
        lines += case_table(results, middle, case)
    return lines + ratio_table(results, cases)


def markdown(cells, machine, rounds, left_out):
    lines = ["%d round%s, all rows in each; medians. Blobs are served by nginx." % (rounds, "s" * (rounds > 1)), ""]
    for cell in cells:
        lines += cell_text(*cell)
    lines += ["Left out, because a part is not there: %s (%s).  " % (ROWS[row][0], ", ".join(map(os.path.basename, parts)))
              for row, parts in left_out.items()]
    lines += ["%s: %s  " % item for item in machine.items()]
    return "\n".join(lines) + "\n"


def as_json(cell):
    title, facts, results = cell
    middle = medians(results)
    return {"cell": title, "corpus": facts,
            "rows": [{"row": row, "case": case, "median": middle[row, case], "runs": runs} for (row, case), runs in results.items()],
            "ratios": [{"peer": p, "ours": o, "case": c, **r} for (p, o, c), r in ratios(results).items()]}


def write(cells, machine, rounds, left_out):
    """Prints the tables and keeps them with every single figure; gives the path without extension.

    `cells`: (title, facts of the corpus, {(row, case): results}); `left_out`: {row: its missing parts}."""
    text = markdown(cells, machine, rounds, left_out)
    directory = os.path.join(ROOT, "bench-results")
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, time.strftime("%Y%m%d-%H%M%S"))
    with open(path + ".md", "w") as f:
        f.write(text)
    with open(path + ".json", "w") as f:
        json.dump({"system": machine, "rounds": rounds, "cells": list(map(as_json, cells))}, f, indent=1)
    groups = [("%s: %s" % (title, case), [(ROWS[row][0], row.startswith("ours"), m["wall"])
                                          for (row, of), m in medians(results).items() if of == case and row != "engine"])
              for title, _, results in cells for case in dict.fromkeys(case for _, case in results)]
    with open(path + ".svg", "w") as f:
        f.write(chart.svg(groups))
    print("\n" + text)
    return path
