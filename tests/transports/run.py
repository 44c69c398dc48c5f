#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One suite for every transport: the conformance cases, and those with other people's clients and
libraries, over everything that harness/transport.py knows beside plain TCP.

    tests/transports/run.py [--transport NAME] [-k WORD] [--junit FILE]

The last line is the sum of all: "N passed, N failed, N skipped".
"""
import argparse
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path.insert(0, TESTS)

from harness import transport       # noqa: E402

SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")
SUITES = {"conformance": [], "integration": ["-k", "cases_clients", "-k", "cases_libraries"]}


def run(name, suite, words, junit):
    command = [sys.executable, os.path.join(TESTS, suite, "run.py"), "--transport", name]
    for word in words:
        command += ["-k", word]
    if not words:
        command += SUITES[suite]
    if junit:
        command += ["--junit", f"{junit}.{name}.{suite}"]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout:
            last = line.strip() or last
            if line.startswith(("FAILED", "SKIPPED", "    ")):
                print(line, end="", flush=True)
    match = SUMMARY.match(last)
    counts = [int(n or 0) for n in match.groups()] if match else [0, 1, 0]
    if process.returncode not in (0, 1) or (process.returncode and not counts[1]):
        counts[1] += 1
    print(f"# {name}: {suite}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped",
          flush=True)
    return counts


def merge(junit, parts):
    """One report of all, each case under the name of its transport."""
    root = ElementTree.Element("testsuites")
    for part in parts:
        path = f"{junit}.{part[0]}.{part[1]}"
        if not os.path.exists(path):
            continue
        suite = ElementTree.parse(path).getroot()
        suite.set("name", f"{part[1]} over {part[0]}")
        root.append(suite)
        os.unlink(path)
    ElementTree.ElementTree(root).write(junit, encoding="utf-8", xml_declaration=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--transport", action="append", choices=transport.NAMES)
    parser.add_argument("-k", metavar="WORD", action="append", default=[])
    parser.add_argument("--junit", metavar="FILE")
    options = parser.parse_args()
    names = options.transport or [name for name in transport.NAMES if name != "tcp"]
    parts = [(name, suite) for name in names for suite in SUITES]
    total = [0, 0, 0]
    for name, suite in parts:
        counts = run(name, suite, options.k, options.junit)
        total = [a + b for a, b in zip(total, counts)]
    if options.junit:
        merge(options.junit, parts)
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped", flush=True)
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
