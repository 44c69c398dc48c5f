#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The broker's CPU time per delivered message, beside mosquitto's, on this machine in this run.

    tests/bench/run.py [--rounds 5] [--seconds 4] [-- relay_bench's own options]

50 publishers to 50 subscribers, 64 bytes, QoS 0, MQTT 3.1.1. Both brokers get their turns one
after the other (A B A B ...), so that a machine that slows down slows both; the medians count.
Nightjar runs with one worker unless --workers says otherwise, as mosquitto has one thread.

Environment: NIGHTJAR_BIN, NIGHTJAR_MOSQUITTO (folder with mosquitto's unpacked package).
"""
import argparse
import os
import re
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.broker import Broker, ROOT, default_bin      # noqa: E402

RESULT = re.compile(r"([0-9.]+) us/message, (\d+) messages/s")


def mosquitto_bin():
    folder = os.environ.get("NIGHTJAR_MOSQUITTO") or os.path.join(ROOT, "build", "mosquitto")
    return os.path.join(folder, "usr", "sbin", "mosquitto")


def bench_program():
    build = os.path.dirname(os.path.dirname(os.path.realpath(default_bin())))
    candidates = [os.path.join(build, "tests", "bench", "relay_bench"),
                  os.path.join(ROOT, "build", "release", "tests", "bench", "relay_bench")]
    for path in candidates:
        if os.path.exists(path):
            return path
    sys.exit(f"no relay_bench at {' or '.join(candidates)}; ./dev bench builds it")


def measure(program, binary, workers, options):
    """(us per message, messages a second) of one run against a fresh broker."""
    with Broker("log_dest none\n", binary=binary, workers=workers) as broker:
        command = [program, "--port", str(broker.port), "--pid", str(broker.pid),
                   "--seconds", str(options.seconds)] + options.rest
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        match = RESULT.search(done.stdout)
        if done.returncode != 0 or not match:
            sys.exit(f"{binary}: relay_bench failed: {done.stderr.strip()}")
        return float(match.group(1)), int(match.group(2))


def show(name, runs):
    costs = [cost for cost, _ in runs]
    rate = statistics.median(rate for _, rate in runs)
    print(f"{name:10} {statistics.median(costs):8.4f} us of CPU per message  "
          f"({min(costs):.4f} to {max(costs):.4f}), {rate:9.0f} messages/s")
    return statistics.median(costs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--workers", default="1", help="worker_threads of nightjar (default 1)")
    parser.add_argument("--program", help="relay_bench, if not beside the broker's build")
    parser.add_argument("--only", action="store_true", help="nightjar alone")
    parser.add_argument("rest", nargs="*", help="options for relay_bench, after --")
    options = parser.parse_args()

    brokers = {"nightjar": default_bin()}
    if not options.only:
        brokers["mosquitto"] = mosquitto_bin()
    for name, binary in brokers.items():
        if not os.path.exists(binary):
            sys.exit(f"no {name} at {binary}")
    program = options.program or bench_program()
    runs = {name: [] for name in brokers}
    for turn in range(options.rounds):
        for name, binary in brokers.items():
            runs[name].append(measure(program, binary, options.workers, options))
            cost, rate = runs[name][-1]
            print(f"# round {turn + 1}: {name:10} {cost:8.4f} us/message {rate:9d} messages/s",
                  flush=True)
    medians = {name: show(name, results) for name, results in runs.items()}
    if len(medians) == 2:
        print(f"mosquitto pays {medians['mosquitto'] / medians['nightjar']:.1f} times as much "
              "per message as nightjar")
    return 0


if __name__ == "__main__":
    sys.exit(main())
