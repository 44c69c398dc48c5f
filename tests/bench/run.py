#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nightjar, the least that a broker could do, and mosquitto, measured in turn on this machine.

    tests/bench/run.py [--quick] [--only RUN,...] [--rounds N] [--beside NAME=PROGRAM]

Every round starts each program anew on processor 0, with the load from processor 1, one program
after the other (A B C A B C ...), so that a machine that slows down slows all; medians count.
Without --quick, --only and --beside it writes docs/benchmarks.md and its plots. The figures are
kept in build/bench/results.json; --render makes the page from them again.

Environment: NIGHTJAR_BIN, NIGHTJAR_BENCH, NIGHTJAR_MOSQUITTO (folder of the unpacked package).
"""
import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import brokers       # noqa: E402
import machine       # noqa: E402
import page          # noqa: E402
import rows          # noqa: E402
import store_figures  # noqa: E402

from harness.broker import BrokerError      # noqa: E402

RESULTS = os.path.join(brokers.ROOT, "build", "bench", "results.json")
TIMED = {"one-to-one", "fan-out", "fan-in", "wildcard", "match", "storm"}
RUN_DEADLINE_S = 120
# Linux takes a processor away from a real-time program that others have waited for 0.95 s: a run
# is shorter, and before it they have their time.
UNDISTURBED_S, UNDISTURBED_WARM_UP_S, REST_S = 0.4, 0.15, 1.2
# What store_figures.py measures, once: minutes each.
STORE_FIGURES = {"store-syncs": store_figures.syncs_per_second,
                 "store-crowd": store_figures.measure_crowd,
                 "store-start": store_figures.measure_start}


class Bench:
    """One call's settings, and what was measured so far: results[run][broker] = [report, ...]."""

    def __init__(self, options, programs):
        self.options = options
        self.programs = programs
        self.results = {}
        self.failures = []
        self.store_figures = {}

    def seconds(self, run, arguments):
        if arguments[0] not in TIMED:
            return []
        seconds, warm_up_s = self.options.seconds, min(1.0, self.options.seconds / 4)
        if run.is_undisturbed and brokers.may_be_undisturbed():
            seconds, warm_up_s = UNDISTURBED_S, UNDISTURBED_WARM_UP_S
        return ["--seconds", str(seconds), "--warm-up", str(warm_up_s)]

    def run_once(self, run, name, arguments):
        """One run against one fresh broker: its report, or the words of what went wrong."""
        if name == "rights":
            arguments = arguments + ["-u", brokers.USER, "--password", brokers.PASSWORD]
        if run.transport in ("tls", "wss"):
            arguments = arguments + ["--insecure"]
        if run.is_undisturbed and brokers.may_be_undisturbed():
            time.sleep(REST_S)
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".json"))
            started = [stack.enter_context(brokers.start(name, self.programs[name], 0,
                                                         self.options.workers, run))
                       for _ in range(2 if run.is_apart else 1)]
            urls = [brokers.url(run, broker) for broker in started]
            command = [*brokers.pinned(1, run.is_undisturbed), brokers.bench_bin(), *arguments,
                       *self.seconds(run, arguments), "--quiet", f"--json={out.name}",
                       *(["--second", urls[1]] if run.is_apart else []),
                       *(f"--broker-pid={broker.pid}" for broker in started), urls[0]]
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  timeout=RUN_DEADLINE_S)
            report = json.load(out) if os.path.getsize(out.name) else None
        if done.returncode != 0 or report is None:
            return None, done.stderr.strip() or done.stdout.strip()
        return report, None

    def measure(self, run, name, arguments):
        """One run; its report goes into the results. What fails is noted, and the rest goes on."""
        key = run.key
        try:
            report, error = self.run_once(run, name, arguments)
        except (BrokerError, subprocess.TimeoutExpired, OSError) as problem:
            report, error = None, str(problem)
        if error:
            self.failures.append(f"{key}, {name}: {error}")
            print(f"# {key:14} {name:10} FAILED {error}", flush=True)
            return
        self.results.setdefault(key, {}).setdefault(name, []).append(report)
        for phase in report["phases"]:
            print(f"# {key:14} {name:10} {phase['name']:10} "
                  f"{phase.get('broker_cpu_us_each', 0):9.4f} us  "
                  f"{phase['per_second']:12,.0f}/s  "
                  f"own {phase.get('own_cpu_us_each', 0):8.4f} us", flush=True)

    def names(self, wanted):
        """The brokers of a run; programs given with --beside take part in all that nightjar does."""
        known = rows.EVERYBODY + rows.VARIANTS
        return [name for name in self.programs
                if name in wanted or (name not in known and "nightjar" in wanted)]

    def rounds(self, run, arguments, count=None):
        for _ in range(count or self.options.rounds):
            for name in self.names(run.brokers):
                self.measure(run, name, arguments)

    def figure(self, key, name, phase, field):
        """The median over all rounds; None when there is none."""
        found = [entry[field] for report in self.results.get(key, {}).get(name, ())
                 for entry in report["phases"] if entry["name"] == phase and field in entry]
        return statistics.median(found) if found else None

    def latency(self):
        """At half of the rate that the broker reached; the relay at Nightjar's."""
        for name, of in (("nightjar", "nightjar"), ("relay", "nightjar"),
                         ("mosquitto", "mosquitto")):
            full = self.figure("one-to-one", of, "deliver", "per_second")
            if full and name in self.programs:
                yield name, ["one-to-one", "--rate", str(int(full / 2))]

    def store(self):
        """Asked for by name, or in a run of everything; nightjar alone."""
        for key, measure in STORE_FIGURES.items():
            if self.options.only and key not in self.options.only \
                    or self.options.quick and not self.options.only:
                continue
            try:
                self.store_figures[key] = measure()
                print(f"# {key:14} {self.store_figures[key]}", flush=True)
            except (BrokerError, subprocess.SubprocessError, OSError) as problem:
                self.failures.append(f"{key}: {problem}")

    def run_all(self):
        chosen = [run for run in rows.RUNS
                  if not self.options.only or run.key in self.options.only]
        for run in chosen:
            arguments = run.arguments(self.options.quick)
            if arguments != ["-"]:
                self.rounds(run, arguments)
        self.store()
        if not self.options.only or "latency" in self.options.only:
            for _ in range(self.options.rounds):
                for name, arguments in self.latency():
                    self.measure(rows.LATENCY, name, arguments)
        for growth in rows.GROWTHS:
            if (not self.options.quick and not self.options.only) or (
                    self.options.only and "growth-" + growth.key in self.options.only):
                for point in growth.points:
                    arguments = growth.command.format(point, half=point // 2).split()
                    run = rows.Run(f"growth-{growth.key}-{point}", "", brokers=growth.brokers)
                    self.rounds(run, arguments, 1)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one short round, in minutes")
    parser.add_argument("--only", help="runs, such as one-to-one,qos1 or growth-payload")
    parser.add_argument("--rounds", type=int, help="default 5, with --quick 1")
    parser.add_argument("--seconds", type=float, help="of each timed run; default 1, quick 0.4")
    parser.add_argument("--workers", default="1", help="worker_threads of nightjar (default 1)")
    parser.add_argument("--brokers", help="of nightjar,relay,mosquitto (default all)")
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=PROGRAM",
                        help="another nightjar, for example the one before a change")
    parser.add_argument("--render", action="store_true", help="only write the page again")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.4 if options.quick else 1)
    options.only = options.only.split(",") if options.only else None
    known = {run.key for run in rows.RUNS} | {"growth-" + g.key for g in rows.GROWTHS}
    known |= set(STORE_FIGURES)
    unknown = set(options.only or ()) - known - {"latency"}
    if unknown:
        parser.error(f"there is no run {', '.join(sorted(unknown))}; there are "
                     f"{', '.join(sorted(known))} and latency")
    return options


def choose_programs(options):
    programs = {"nightjar": brokers.default_bin(), "relay": brokers.bench_bin(),
                "mosquitto": brokers.mosquitto_bin(), "rights": brokers.default_bin(),
                "process": brokers.default_bin(), "memory": brokers.default_bin()}
    for pair in options.beside:
        name, _, path = pair.partition("=")
        programs[name] = path
    if options.brokers:
        wanted = options.brokers.split(",") + [pair.split("=")[0] for pair in options.beside]
        programs = {name: path for name, path in programs.items() if name in wanted}
    for name, path in programs.items():
        if not os.path.exists(path):
            sys.exit(f"no {name} at {path!r}; ./dev bench builds it")
    return programs


def print_growths(bench):
    for growth in rows.GROWTHS:
        for point in growth.points:
            key = f"growth-{growth.key}-{point}"
            if key in bench.results:
                shown = "  ".join(
                    f"{name} {bench.figure(key, name, growth.phase, 'broker_cpu_us_each'):.4f}"
                    for name in bench.results[key])
                print(f"{growth.key} {point}: {shown}")


def main():
    options = parse()
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if options.render:
        with open(RESULTS, encoding="utf-8") as saved:
            page.write(json.load(saved))
        return 0
    bench = Bench(options, choose_programs(options))
    bench.run_all()
    data = {"machine": machine.describe(brokers.mosquitto_bin()), "rounds": options.rounds,
            "seconds": options.seconds, "workers": options.workers, "results": bench.results,
            "store": bench.store_figures,
            "is_undisturbed": brokers.may_be_undisturbed(),
            "failures": len(bench.failures)}
    print()
    print(page.tables(data, [name for name in bench.programs if name not in rows.VARIANTS]))
    print_growths(bench)
    if not (options.quick or options.only or options.beside or options.brokers):
        os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
        with open(RESULTS, "w", encoding="utf-8") as out:
            json.dump(data, out)
        page.write(data)
    for failure in bench.failures:
        print(f"FAILED: {failure}")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
