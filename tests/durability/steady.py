#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same load for a long time: does the store's file or the broker's memory grow?

    steady.py [--seconds N] [--durability disk|process] [--out FOLDER]

Sessions go away, messages are queued for them, and they come back for them; retained messages are
set, replaced and deleted; messages and sessions expire; subscriptions change; wills are published. The
size of the file and of the memory is noted all the time. The first third of the time is for warming up;
in the last third neither may be larger than in the second. The figures go into steady.csv, the plot
into steady.svg.
"""
import argparse
import csv
import http.client
import os
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

from bench import plots                                     # noqa: E402
from harness import DEADLINE_S, exposition                  # noqa: E402
from harness.broker import ROOT, Broker                     # noqa: E402
from harness.crowd import Crowd                             # noqa: E402
from harness.mqtt_packets import V5, V311                   # noqa: E402
from harness.oracle import Violations                       # noqa: E402
from steady_devices import Changer, Feeder, Mayfly, Mortal, Sleeper, Tally   # noqa: E402
from torture_support import store_config                    # noqa: E402

# A turn of the crowd: what came meanwhile is dealt with at once, so that the load needs little.
TURN_S = 0.01
POINTS = 720                    # in the table, however long it takes
MIB = 1 << 20
# May the mean of the last third be larger than that of the second? By so much, which is what comes and
# goes with who happens to be away.
GROWTH, GROWTH_BYTES = 0.02, 256 * 1024
FLAT = ("file_bytes", "file_disk_bytes", "rss_anon_bytes", "rss_file_bytes")
GAUGES = {"used_bytes": ("nightjar_store_used_bytes", {}),
          "commits": ("nightjar_store_commits_total", {}),
          "queued": ("nightjar_messages_queued", {}),
          "expired": ("nightjar_messages_dropped_total", {"cause": "expired"}),
          "sessions_expired": ("nightjar_clients_expired_total", {}),
          "sessions": ("nightjar_sessions", {}),
          "subscriptions": ("nightjar_subscriptions", {}),
          "retained": ("nightjar_retained_messages", {}),
          "wills": ("nightjar_wills_published_total", {}),
          "read_back": ("nightjar_store_messages_read_total", {})}
CONFIG = "listener {port} 127.0.0.1\nprotocol any\npersistence_max_size 1073741824\n"


class Cast:
    """Some 100 devices, most of which are away at any time."""

    def __init__(self, port, pace):
        self.violations = Violations()
        self.tally = Tally(pace)
        self.crowd = crowd = Crowd(port, self.violations, seed=1)
        tally = self.tally
        for n in range(4):
            Feeder(crowd, f"feeder{n}", (V5, V5, V5, V311)[n], tally, 100)
        for n in range(40):
            # Now and then one is away for so long that its queue is longer than what is kept in memory.
            away_s = (40, 90) if n % 8 == 0 else (4, 20)
            filters = [(f"load/{(n + part * 13) % 40}", 1 + (n + part) % 2) for part in range(2)]
            Sleeper(crowd, f"sleeper{n}", (V5, V311)[n % 2], tally, filters, away_s)
        for n in range(3):
            Sleeper(crowd, f"member{n}", V5, tally, [("$share/crew/load/1", 2), ("$share/crew/load/2", 1)],
                    (4, 20))
        Sleeper(crowd, "mourner", V5, tally, [("will/#", 2)], (4, 20))
        for n in range(8):
            Changer(crowd, f"changer{n}", (V5, V311)[n % 2], tally)
            Mayfly(crowd, f"mayfly{n}", tally)
            Mortal(crowd, f"mortal{n}", (V5, V311)[n % 2], tally, n)


class Steady:
    """pace: below 1, all come and go sooner, so that in a short time everything happens. It takes longer
    where that was not enough."""

    def __init__(self, seconds, durability="disk", out=None, pace=1.0, is_enough=lambda _self: True):
        self.seconds, self.out, self.pace, self.is_enough = seconds, out, pace, is_enough
        self.broker = Broker(store_config(durability) + CONFIG, workers=2)
        self.samples = []
        self.cast = None

    def run(self):
        self.broker._prepare()
        os.mkdir(self.broker.path("store"), 0o700)
        try:
            self.broker._spawn()
            self.broker._wait_listening()
            self.cast = Cast(self.broker.port, self.pace)
            self._course()
            self.broker.stop()
        finally:
            if self.cast:
                self.cast.crowd.close()
            self.broker.kill()
            self.broker._remove_dir()
        return self

    def _course(self):
        begin = time.monotonic()
        every_s = max(1.0, self.seconds / POINTS)
        next_sample = begin + every_s
        while ((now := time.monotonic()) < begin + self.seconds
               or (not self.is_enough(self) and now < begin + self.seconds + DEADLINE_S)):
            time.sleep(TURN_S)
            self.cast.crowd.turn(0)
            if now >= next_sample:
                next_sample += every_s
                self.samples.append(self._sample(now - begin))
                if self.out and len(self.samples) % 20 == 0:
                    print(line(self.samples[-1]), flush=True)
                    save(self.samples, self.out)

    def _sample(self, seconds):
        sample = {"seconds": round(seconds)}
        files = [entry.stat() for entry in os.scandir(self.broker.path("store")) if entry.is_file()]
        sample["file_bytes"] = sum(file.st_size for file in files)
        sample["file_disk_bytes"] = sum(file.st_blocks * 512 for file in files)
        with open(f"/proc/{self.broker.pid}/status", encoding="ascii") as status:
            memory = dict(row.split(":", 1) for row in status)
        sample["rss_anon_bytes"] = int(memory["RssAnon"].split()[0]) * 1024
        # The store's file is mapped: these are pages of it that the kernel can take back at any time.
        sample["rss_file_bytes"] = int(memory["RssFile"].split()[0]) * 1024
        metrics = self._metrics()
        for name, (metric, labels) in GAUGES.items():
            sample[name] = round(exposition.value(metrics, metric, **labels))
        sample["received"] = self.cast.tally["received"]
        sample["published"] = self.cast.tally["acknowledged"]
        return sample

    def _metrics(self):
        http_client = http.client.HTTPConnection("127.0.0.1", self.broker.port, timeout=DEADLINE_S)
        try:
            http_client.request("GET", "/metrics")
            return exposition.parse(http_client.getresponse().read().decode())
        finally:
            http_client.close()

    def sum(self):
        parts = [f"{count} {kind}" for kind, count in sorted(self.cast.tally.counts.items())]
        return ", ".join(parts)


# -- what it means --------------------------------------------------------------------------------

def line(sample):
    return (f"{sample['seconds']:5} s  file {sample['file_bytes'] / MIB:.1f} MiB, used "
            f"{sample['used_bytes'] / MIB:.1f}; memory {sample['rss_anon_bytes'] / MIB:.1f} MiB and "
            f"{sample['rss_file_bytes'] / MIB:.1f} of files; {sample['queued']} queued, "
            f"{sample['published']} published, {sample['received']} received, {sample['commits']} commits")


def _slope(samples, name):
    """Per hour, by least squares."""
    if len(samples) < 3:
        return 0.0
    return statistics.linear_regression([s["seconds"] for s in samples],
                                        [s[name] for s in samples]).slope * 3600


def growth(samples):
    """(name, mean of the second third, mean of the last third, bytes an hour, is it flat?) for each."""
    third = len(samples) // 3
    found = []
    for name in FLAT:
        second = statistics.fmean(s[name] for s in samples[third:2 * third])
        last = statistics.fmean(s[name] for s in samples[2 * third:])
        found.append((name, second, last, _slope(samples[third:], name),
                      last <= second + max(second * GROWTH, GROWTH_BYTES)))
    return found


def growth_text(samples):
    return [f"{name}: {second / MIB:.2f} MiB in the second third, {last / MIB:.2f} in the last, "
            f"{slope / MIB:+.2f} MiB an hour: " + ("flat" if is_flat else "IT GROWS")
            for name, second, last, slope, is_flat in growth(samples)]


def save(samples, folder):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "steady.csv"), "w", encoding="ascii", newline="") as out:
        table = csv.DictWriter(out, samples[0], lineterminator="\n")
        table.writeheader()
        table.writerows(samples)


def load(folder):
    with open(os.path.join(folder, "steady.csv"), encoding="ascii", newline="") as table:
        return [{name: int(value) for name, value in row.items()} for row in csv.DictReader(table)]


def draw(samples, folder):
    # Every other one is enough for the eye.
    samples = samples[::max(1, len(samples) // 360)]

    def course(name, unit):
        return [(s["seconds"] / 60, s[name] / unit) for s in samples]

    published = [(b["seconds"] / 60, (b["published"] + b["received"] - a["published"] - a["received"])
                  / max(1, b["seconds"] - a["seconds"])) for a, b in zip(samples, samples[6:])]
    panels = [("MiB", {"the store's file": course("file_bytes", MIB)}),
              ("MiB", {"memory": course("rss_anon_bytes", MIB),
                       "pages of mapped files": course("rss_file_bytes", MIB)}),
              ("", {"messages queued": course("queued", 1),
                    "messages in and out, each second": published})]
    with open(os.path.join(folder, "steady.svg"), "w", encoding="utf-8") as out:
        out.write(plots.courses("Steady load: queue, drain, retain, expire", "minutes", panels))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--durability", default="disk", choices=("disk", "process"))
    parser.add_argument("--out", default=os.path.join(ROOT, "docs", "images"), metavar="FOLDER")
    parser.add_argument("--render", action="store_true", help="only draw what is in steady.csv again")
    options = parser.parse_args()
    if options.render:
        samples = load(options.out)
    else:
        steady = Steady(options.seconds, options.durability, options.out).run()
        samples = steady.samples
        save(samples, options.out)
        print(steady.sum())
        if steady.cast.violations:
            print(steady.cast.violations.report())
            print("0 passed, 1 failed")
            return 1
    draw(samples, options.out)
    print("\n".join(growth_text(samples)))
    bad = sum(not is_flat for *_, is_flat in growth(samples))
    print(f"{len(FLAT) - bad} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
