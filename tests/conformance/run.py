#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run the conformance cases and account for every normative statement.

    tests/conformance/run.py                 all cases, then the account of the statements
    tests/conformance/run.py -k "topic alias"  some cases; statements are not accounted for
    tests/conformance/run.py --write-docs    make docs/conformance.md from the last results

A statement (statements-*.tsv) has to have a case that passed and none that failed, or a reason why
there is none; otherwise the run fails. The results go to conformance.json in the build folder.
"""
import glob
import importlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from harness import runner                          # noqa: E402
from harness.broker import default_bin              # noqa: E402

VERSIONS = ("5", "3.1.1", "3.1")


def load_cases():
    for path in sorted(glob.glob(os.path.join(HERE, "test_*.py"))):
        importlib.import_module(os.path.basename(path)[:-3])


def load_statements(version):
    """list of (number, section, wording, reason)"""
    path = os.path.join(HERE, f"statements-{version}.tsv")
    rows = []
    with open(path, encoding="utf-8") as lines:
        next(lines)
        for count, line in enumerate(lines, 2):
            fields = line.rstrip("\n").split("\t")
            if len(fields) != 4:
                raise SystemExit(f"{path}:{count}: {len(fields)} columns, expected 4")
            rows.append(tuple(fields))
    return rows


def account(rows, by_statement):
    """What is wrong with these statements, one line each. by_statement: number -> statuses."""
    problems = []
    for number, _section, wording, reason in rows:
        statuses = by_statement.get(number, [])
        # A case that failed is reported and counted as such already.
        if not {"passed", "failed"} & set(statuses) and not reason:
            problems.append(f"{number} has neither a passing case nor a reason ({wording})")
    return problems


def statuses_of(cases):
    """version -> number -> list of statuses, from the rows of the results file."""
    out = {version: {} for version in VERSIONS}
    for row in cases:
        for number in row["statements"]:
            out[row["version"]].setdefault(number, []).append(row["status"])
    return out


def results_path():
    override = os.environ.get("NIGHTJAR_RESULTS")
    if override:
        return override
    build = os.path.dirname(os.path.dirname(os.path.abspath(default_bin())))
    return os.path.join(build, "conformance.json")


def last_results():
    """The newest results of a full run, whichever build they are of."""
    if os.environ.get("NIGHTJAR_RESULTS") or os.environ.get("NIGHTJAR_BIN"):
        return results_path()
    found = glob.glob(os.path.join(ROOT, "build", "**", "conformance.json"), recursive=True)
    if not found:
        raise SystemExit("no results in build/: run tests/conformance/run.py first")
    return max(found, key=os.path.getmtime)


def after_run(results, options):
    if options.k:
        return []       # a part says nothing about the whole, and must not replace its results
    path = options.json or results_path()
    runner.write_json(path, results)
    with open(path, encoding="utf-8") as results_file:
        by_version = statuses_of(json.load(results_file)["cases"])
    problems = []
    for version in VERSIONS:
        rows = load_statements(version)
        problems += account(rows, by_version[version])
        unknown = set(by_version[version]) - {row[0] for row in rows}
        problems += [f"a case names {n}, which statements-{version}.tsv does not have"
                     for n in sorted(unknown)]
        states = [by_version[version].get(row[0], []) for row in rows]
        proven = sum("passed" in state and "failed" not in state for state in states)
        excused = sum(not state and bool(row[3]) for state, row in zip(states, rows))
        print(f"# MQTT {version}: {len(rows)} statements, {proven} shown by passing cases, "
              f"{excused} with a reason why not, {len(rows) - proven - excused} open")
    return problems


HEAD = """# What Nightjar's conformance tests show

This page is made by `tests/conformance/run.py --write-docs` from the lists of normative statements
and the results of the last full run; do not edit it. The wording is ours and short: the
specifications of OASIS decide. A case sends and expects raw bytes; it is found in
`tests/conformance/` by its sentence. MQTT 3.1 does not number its statements, so that its list is
our own.
"""


def write_docs():
    with open(last_results(), encoding="utf-8") as results_file:
        cases = json.load(results_file)["cases"]
    by_version = statuses_of(cases)
    out = [HEAD]
    for version in VERSIONS:
        out += section(version, load_statements(version), by_version[version], cases)
    path = os.path.join(ROOT, "docs", "conformance.md")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as page:
        page.write("\n".join(out))
    print(f"wrote {os.path.relpath(path, ROOT)}")


def section(version, rows, statuses, cases):
    sentences = {}
    for case in cases:
        for number in case["statements"] if case["version"] == version else []:
            sentences.setdefault(number, []).append(case["name"].rsplit(" [", 1)[0])
    lines = [f"\n## MQTT {version}\n", "| statement | what it says | shown by |",
             "| --- | --- | --- |"]
    for number, _section, wording, reason in rows:
        found = sorted(set(sentences.get(number, [])))
        state = statuses.get(number, [])
        shown = "<br>".join(found)
        if "failed" in state:
            shown = "**fails**: " + shown
        elif "passed" not in state:
            shown = f"*no case:* {reason or 'missing'}"
        lines.append(f"| {number} | {wording} | {shown} |".replace("\n", " "))
    return lines + [""]


def main():
    parser = runner.arguments(__doc__.split("\n")[0])
    parser.add_argument("--write-docs", action="store_true",
                        help="write docs/conformance.md from the last results and stop")
    options = parser.parse_args()
    if options.write_docs:
        write_docs()
        return 0
    load_cases()
    return runner.main(options, "conformance", after_run)


if __name__ == "__main__":
    sys.exit(main())
