#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the workers of a broker share while messages flow: a table of counts for each message.

    tests/sharing/measure.py [--workers 2,8,32] [--plans same,half,cross,spread] [--qos 0,1] [--lines]
                             [--messages N]

same: no message crosses from one worker to another; half: half of them do; cross: all; spread: those of
each publisher go to all workers by turns. --messages: of each publisher in a round. --lines names each
shared line, and who touches it.

Counts, not times: they come out (nearly) the same on any machine, with any number of processors.
Environment: NIGHTJAR_BIN (default build/sharing/bin/nightjar).
"""
import argparse
import contextlib
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

import load                             # noqa: E402
import report                           # noqa: E402
from harness.broker import Broker, ROOT     # noqa: E402

WARM_UP_ROUNDS = 4
# As on a machine with as many processors: glibc makes eight heaps for each that it sees.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=256"}
CONFIG = ("listener {port} 127.0.0.1\nlistener 0 {dir}/mqtt.sock\nlog_dest none\npersistence false\n"
          "max_queued_messages 0\nmax_inflight_messages 0\nsys_interval 0\n")


def program():
    return (os.environ.get("NIGHTJAR_BIN")
            or os.path.join(ROOT, "build", "sharing", "bin", "nightjar"))


class Measured:
    """A window: what the probe has seen, and how many messages went through meanwhile."""

    def __init__(self, workers, kind, qos, messages, crossing, seen):
        self.workers = workers
        self.kind = kind
        self.qos = qos
        self.messages = messages
        self.crossing = crossing
        self.seen = seen

    def each(self, count):
        """For one message."""
        return count / self.messages

    def fetched(self):
        """How often a line had to come from another worker's cache, for one message."""
        return self.each(sum(group.transfers() for group in self.seen.groups()))

    def atomics(self):
        return self.each(self.seen.of_workers(self.seen.atomics, None))

    def locks(self):
        return self.seen.events_of_workers("lock")


@contextlib.contextmanager
def probed_broker(workers):
    """A broker, and a connection to the probe in it."""
    with tempfile.TemporaryDirectory(prefix="nightjar-sharing-") as folder:
        path = os.path.join(folder, "probe.sock")
        env = {**ENVIRONMENT, "NIGHTJAR_SHARING": path}
        with Broker(CONFIG, binary=program(), workers=str(workers), env=env) as broker, \
                report.Probe(path) as probe:
            yield broker, probe


def measure(workers, kind, qos, rounds=12, messages=20):
    """A fresh broker, rounds until caches are warm, then the window."""
    a_plan = load.plan(kind, workers, messages)
    with probed_broker(workers) as (broker, probe), \
            load.Load(broker.path("mqtt.sock"), a_plan, qos) as clients:
        for _ in range(WARM_UP_ROUNDS):
            clients.round()
        probe.ask("begin")
        for _ in range(rounds):
            clients.round()
        seen = report.Report(program(), probe.ask("end"))
    return Measured(workers, kind, qos, a_plan.count() * rounds, a_plan.crossing(workers) * rounds,
                    seen)


COLUMNS = ("workers", "QoS", "plan", "crossing", "messages/turn", "letters", "locks", "atomics",
           "malloc", "lines", "fetched")


def row(measured):
    """The figures of a table's line, each for one message where nothing else is said."""
    seen, each = measured.seen, measured.each
    return (measured.workers, measured.qos, measured.kind,
            f"{each(measured.crossing):.0%}",
            f"{measured.messages / max(1, seen.counters['TURNS']):.1f}",
            f"{each(seen.counters['LETTERS_POSTED']):.3f}",
            f"{each(sum(measured.locks().values())):.3f}",
            f"{measured.atomics():.3f}",
            f"{each(sum(seen.events_of_workers('malloc').values())):.3f}",
            sum(len(group.lines) for group in seen.groups()),
            f"{measured.fetched():.3f}")


def lines_text(measured):
    """Each group of shared lines, with who writes and who reads it; then the locks and others."""
    names, each, text = measured.seen.names, measured.each, []
    for group in measured.seen.groups():
        text.append(f"  {group.name}: {len(group.lines)} lines, fetched {each(group.transfers()):.4f}, "
                    f"read {each(group.count('read')):.3f}, "
                    f"written {each(group.count('write')):.3f}, "
                    f"atomic {each(group.count('rmw')):.3f}")
        for what, kinds in (("atomic", ("rmw",)), ("writes", ("write",)), ("reads", ("read",))):
            text += [f"      {what:6} {each(count):8.4f}  {names.where(place)}"
                     for place, count in group.places(*kinds).most_common(4)]
    for event in ("lock", "wake", "foreign-free", "malloc"):
        text += [f"  {event:6} {each(count):8.4f}  {names.where(place)}"
                 for place, count in measured.seen.events_of_workers(event).most_common(8)]
    return "\n".join(text)


def print_table(lines):
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(line, widths)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--workers", default="2,8,32")
    parser.add_argument("--plans", default="same,half,cross,spread")
    parser.add_argument("--qos", default="0,1")
    parser.add_argument("--messages", type=int, default=20)
    parser.add_argument("--lines", action="store_true")
    options = parser.parse_args()
    lines = [COLUMNS]
    for kind in options.plans.split(","):
        for qos in map(int, options.qos.split(",")):
            for workers in map(int, options.workers.split(",")):
                measured = measure(workers, kind, qos, messages=options.messages)
                lines.append(row(measured))
                if measured.seen.lost:
                    print(f"the probe had no room for {measured.seen.lost} accesses")
                if options.lines:
                    print_table([COLUMNS, lines[-1]])
                    print(lines_text(measured))
    print_table(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
