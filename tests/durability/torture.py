#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A broker under load is killed again and again, and what it had acknowledged is counted.

    torture.py [--kills N] [--durability disk|process|none] [--power CHANCE] [--seed N]

Each round starts the broker on what the last one left, lets a crowd of devices work for a random
time, and ends with kill -9. Now and then, and at the end, the crowd becomes quiet, and everything is
compared with what was promised. --power: each sector that no sync had covered is lost with that chance
as well, as in a power cut (durability disk only).
"""
import argparse
import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

from harness import DEADLINE_S                              # noqa: E402
from harness.broker import Broker, BrokerError              # noqa: E402
from harness.crowd import Crowd                             # noqa: E402
from harness.devices import (Flipper, Mourned, Probe, Publisher, Reader,      # noqa: E402
                             Subscriber, Wanderer)
from harness.mqtt_packets import V5, V311                   # noqa: E402
from harness.oracle import Entitlements, Violations, settles            # noqa: E402
from shim import Shim                                       # noqa: E402
from torture_support import CONTROL, say_what_is, shim_library, store_config      # noqa: E402

SILENCE_S = 40          # in which nothing comes of what is missing: then it does not come
SESSIONS_DEADLINE_S = 60


class Cast(Entitlements):
    """All devices and what they are entitled to."""

    def __init__(self, port, seed, size=1):
        super().__init__()
        self.violations = Violations()
        self.crowd = Crowd(port, self.violations, seed)
        self.publishers = []
        self.probe_number = 0
        self.patience = 1.0     # of the deadlines; less where something is known to be missing
        self._publishers(4 * size)
        self._subscribers(size)
        self.flippers = [Flipper(self.crowd, f"flip{n}", (V5, V311)[n % 2]) for n in range(4)]
        self.wanderers = [Wanderer(self.crowd, f"wander{n}", (V5, V311)[n % 2]) for n in range(4)]
        self._wills()
        self.probe = Probe(self.crowd, "probe")

    def _publishers(self, count):
        for n in range(count):
            streams = [self._stream(f"{part}/p{n}/q{qos}", qos)
                       for part in ("t", "s") for qos in (1, 2)]
            retained = [f"r/p{n}/{k}" for k in range(3)]
            self.publishers.append(Publisher(self.crowd, f"pub{n}", (V5, V311)[n % 2], streams,
                                             retained))

    def _subscribers(self, size):
        self.subscribers = []
        for n in range(size):
            for name, version, filters, qos, restless in (
                    ("v5q2", V5, [("t/#", 2)], 2, 0.002), ("v4q2", V311, [("t/#", 2)], 2, 0.004),
                    ("v4q1", V311, [("t/#", 1)], 1, 0.002), ("v5two", V5, [("t/+/+", 2)], 2, 0.01),
                    ("away", V5, [("t/#", 2)], 2, 0.2)):
                name = f"{name}-{n}"
                receiver = self._receiver(name, "t/", qos=qos)
                self.subscribers.append(Subscriber(
                    self.crowd, name, version, filters, receiver, restless,
                    identifier=7 + n if name.startswith("v5") else None))
        group = self._receiver("group", "s/", in_order=False, where=" in a group")
        for n in range(3):
            self.subscribers.append(Subscriber(self.crowd, f"member{n}", V5,
                                               [("$share/g/s/#", 2)], group, 0.01))

    def _wills(self):
        self.mourned = []
        for n in range(8):
            stream = self._stream(f"w/m{n}", 1 + n // 4)
            self.mourned.append(Mourned(self.crowd, f"mourned{n}", (V5, V311)[n % 2], stream, n % 3))
        for name, version, restless in (("mourner", V5, 0), ("widow", V311, 0.01)):
            receiver = self._receiver(name, "w/", in_order=False, where=" of wills")
            self.subscribers.append(Subscriber(self.crowd, name, version, [("w/#", 2)], receiver,
                                               restless))

    # -- rounds -----------------------------------------------------------------------------------

    def begin(self):
        """Nobody publishes before all are subscribed."""
        for device in self.mourned:
            device.wants_up = False
        if not self.crowd.run_until(lambda: all(s.is_subscribed for s in self.subscribers), DEADLINE_S):
            raise BrokerError("the crowd could not subscribe")
        for device in self.mourned:
            device.wants_up = True

    def work(self, seconds):
        self.crowd.load = True
        self.crowd.run(seconds)
        self.crowd.load = False

    def check(self):
        """Everything that is on its way arrives; then nothing may be missing."""
        self.crowd.load = False
        settles(lambda: self.violations or self._is_quiet(), self.left,
                lambda: self.crowd.run(0.05), SILENCE_S * self.patience)
        if self.violations:
            return
        self._say_what_hangs()
        for receiver in self.receivers:
            receiver.report_missing()
        self._flush()
        self._probe()
        self._read_retained()
        for stream in self.streams:
            stream.settle()
        for device in self.mourned:
            device.settle()
        for receiver in self.receivers:
            receiver.settle()

    def _is_quiet(self):
        return (all(p.is_up and not p.flights for p in self.publishers)
                and all(s.is_up and s.is_subscribed for s in self.subscribers)
                and not any(receiver.missing() for receiver in self.receivers))

    def received(self):
        return sum(receiver.received for receiver in self.receivers)

    def _say_what_hangs(self):
        for device in self.publishers + self.subscribers:
            if not device.is_up:
                self.violations.add("cannot connect", device.name)
            elif device.flights:
                self.violations.add("unanswered", f"{device.name}: {len(device.flights)} PUBLISH")

    def _flush(self):
        """A second copy would come before the answer to a PINGREQ."""
        for device in self.subscribers:
            if device.is_up:
                device.ping()
        self.crowd.run_until(lambda: all(s.is_flushed() for s in self.subscribers), DEADLINE_S)

    def _probe(self):
        self.probe_number += 1
        payload = b"probe %d" % self.probe_number
        asked = self.flippers + self.wanderers
        self.crowd.run_until(lambda: self.probe.is_up and all(d.is_up and not d.requests
                                                              for d in asked),
                             SESSIONS_DEADLINE_S)
        topics = [text for flipper in self.flippers for text in flipper.knows]
        topics += [w.filter[1] for w in self.wanderers if w.filter[1]]
        self.probe.ask(topics, payload)
        self.crowd.run_until(lambda: not self.probe.left and all(d.has_all(payload) for d in asked),
                             SESSIONS_DEADLINE_S * self.patience)
        for device in asked:
            device.ping()
        self.crowd.run_until(lambda: all(d.is_flushed() for d in asked), DEADLINE_S)
        for device in asked:
            device.check(payload)
            device.probes.clear()

    def _read_retained(self):
        topics = [topic for publisher in self.publishers for topic in publisher.retained]
        reader = Reader(self.crowd, "reader", "r/#")

        def is_right():
            return all(topic.allows(reader.values.get(topic.topic, b"")) for topic in topics)

        self.crowd.run_until(lambda: reader.is_up and not reader.requests and is_right(),
                             DEADLINE_S * self.patience)
        for topic in topics:
            value = reader.values.get(topic.topic, b"")
            if not topic.allows(value):
                self.violations.add("retained", f"{topic.topic} is {value!r}, allowed were "
                                    f"{topic.values[:5]}")
        reader.drop()
        self.crowd.devices.remove(reader)


class Torture:
    """The rounds. After run(): kills, checks, cast.violations."""

    def __init__(self, kills, durability="disk", power=None, seed=None, size=1, workers=None,
                 config="", check_chance=0.3, talk=False, tolerate=(), lies=False,
                 faults=False):
        self.kills_wanted, self.power, self.talk = kills, power, talk
        self.check_chance, self.tolerate, self.lies = check_chance, tolerate, lies
        self.has_faults = faults
        self.seed = seed if seed is not None else random.randrange(1 << 30)
        self.rng = random.Random(self.seed)
        self.broker = Broker(store_config(durability) + CONTROL + config, workers=workers or 3)
        self.shim = self.cast = None
        self.size = size
        self.kills = self.checks = self.sectors = 0

    def run(self):
        self.broker._prepare()
        os.mkdir(self.broker.path("store"), 0o700)
        try:
            if self.power is not None or self.has_faults:
                self.shim = Shim(shim_library(), self.broker.dir, self.broker.path("store"),
                                 self.power is not None)
                self.broker.extra_env.update(self.shim.env)
            self._rounds()
            return self
        finally:
            if self.cast:
                self.cast.crowd.close()
            self.broker.kill()
            if self.shim:
                self.shim.close()
            if not (self.cast and self.cast.violations and os.environ.get("NIGHTJAR_KEEP")):
                self.broker._remove_dir()

    def _begin(self):
        self.broker._spawn()
        self.broker._wait_listening()
        self.cast = Cast(self.broker.port, self.seed, self.size)
        if self.lies:
            self.shim["sync_lies"] = 1
        self.cast.violations.tolerated.update(dict.fromkeys(self.tolerate, 0))
        self.cast.begin()

    def _rounds(self):
        self._begin()
        while self.kills < self.kills_wanted and not self.cast.violations:
            self._live()
            self._kill()
            self.broker._spawn()
            if self.rng.random() < self.check_chance or self.kills == self.kills_wanted:
                self._check()
        if not self.cast.violations:
            self.broker.stop()

    def _live(self):
        """Some die while they are still reading what the last one left."""
        if self.rng.random() < 0.15:
            time.sleep(self.rng.random() * 0.1)
        else:
            self.cast.crowd.run_until(lambda: any(p.is_up for p in self.cast.publishers), DEADLINE_S)
            self.cast.work(self.rng.random() ** 2 * 1.2)

    def _kill(self):
        code = self.broker.proc.poll()
        if code is not None:
            self.cast.violations.add("broker ended by itself", f"with {code}:\n"
                                     + self.broker.log_tail(25))
            return
        self.broker.kill()
        self.kills += 1
        if self.power is not None:
            self.sectors += self.shim.cut_power(
                self.rng.choice((1.0, self.power, self.power)), self.rng)
        # What the broker had written to its sockets has arrived, and counts.
        self.cast.crowd.run(0.001)
        for device in self.cast.crowd.devices:
            device.drop()

    def _check(self):
        before = time.monotonic()
        self.cast.check()
        self.checks += 1
        if self.broker.proc.poll() is not None:
            self.cast.violations.add("broker ended by itself", self.broker.log_tail(25))
        if self.talk:
            print(f"{self.kills:5} kills, {self.checks} checks ({time.monotonic() - before:.1f} s), "
                  f"{self.cast.received()} messages received, {self.doubled()} of them doubled at QoS 1"
                  + (f", {self.sectors} sectors lost" if self.shim else ""), flush=True)
            if self.cast.violations:
                say_what_is(self.broker, self.cast.publishers + self.cast.subscribers)

    def exercised(self):
        """What was acknowledged of each kind that is promised; all of it was checked."""
        cast = self.cast
        parts = {"t/": "messages", "s/": "messages to a shared group", "w/": "wills"}
        counts = {name: sum(stream.confirmed for stream in cast.streams
                            if stream.topic.startswith(prefix)) for prefix, name in parts.items()}
        counts["retained values"] = sum(topic.confirmed for publisher in cast.publishers
                                        for topic in publisher.retained)
        counts["changes of subscriptions"] = sum(flipper.changes for flipper in cast.flippers)
        counts["sessions begun and discarded"] = sum(w.generation for w in cast.wanderers)
        return counts

    def doubled(self):
        return sum(receiver.doubled for receiver in self.cast.receivers)

    def sum(self):
        return (f"{self.kills} kills, {self.checks} checks, {self.cast.received()} messages received, "
                f"{self.doubled()} doubled at QoS 1, seed {self.seed}; acknowledged: "
                + ", ".join(f"{count} {name}" for name, count in self.exercised().items())
                + (f", {self.sectors} sectors lost" if self.shim else "")
                + "".join(f", {count} x {kind}" for kind, count
                          in self.cast.violations.tolerated.items() if count)
                + (f", unexpected: {self.cast.crowd.unexpected}" if self.cast.crowd.unexpected
                   else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--durability", default="disk", choices=("disk", "process", "none"))
    parser.add_argument("--power", type=float, metavar="CHANCE")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--size", type=int, default=1, help="publishers and subscribers times this")
    parser.add_argument("--tolerate", action="append", default=[], metavar="KIND",
                        help="count violations of this kind and go on")
    options = parser.parse_args()
    torture = Torture(options.kills, options.durability, options.power, options.seed, options.size,
                      talk=True,
                      tolerate=options.tolerate).run()
    print(torture.sum())
    if options.kills >= 50 and not all(torture.exercised().values()):
        torture.cast.violations.add("not exercised", str(torture.exercised()))
    if torture.cast.violations:
        print(torture.cast.violations.report())
        print("1 passed, 1 failed")
        return 1
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
