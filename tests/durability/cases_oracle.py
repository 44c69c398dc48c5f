# SPDX-License-Identifier: Apache-2.0
"""That the torture finds what it looks for: a store from which something was taken between two lives of
the broker, and devices that are told what a broken broker would tell them."""
import json
import os
import subprocess

from harness import DEADLINE_S
from harness.broker import BrokerError, default_bin
from harness.crowd import NO, YES, Crowd
from harness.devices import Flipper, Wanderer
from harness.mqtt_packets import V5, Packet
from harness.oracle import Violations, settles
from harness.runner import Skip, case
from torture import Torture


class Robbed(Torture):
    """One life, after which the lines of the store's export for which takes(line) is true are gone."""

    def __init__(self, takes):
        super().__init__(1, "disk", check_chance=1.0)
        self.takes = takes
        self.taken = 0
        self.tool = os.path.join(os.path.dirname(default_bin()), "nightjar-store")
        if not os.path.exists(self.tool):
            raise Skip("nightjar-store was not built")

    def _live(self):
        """One subscriber is away, so that something waits; and all wills are there."""
        cast = self.cast
        away = next(device for device in cast.subscribers if device.name.startswith("away"))
        away.wants_up = False
        away.drop()
        cast.work(0.4)
        cast.crowd.load = True
        if not cast.crowd.run_until(self._is_there, DEADLINE_S):
            raise BrokerError("there is nothing to take")
        cast.crowd.load = False
        away.wants_up = True
        cast.patience = 0.05

    def _is_there(self):
        """Some of everything that can be taken."""
        cast = self.cast
        return (all(d.is_up or d.is_dead for d in cast.mourned)
                and any(s.acked for s in cast.streams if s.topic.startswith("t/"))
                and any(topic.has_to_exist() for p in cast.publishers for topic in p.retained)
                and any(known == YES for flipper in cast.flippers for known in flipper.knows.values()))

    def _kill(self):
        super()._kill()
        folder = self.broker.path("store")
        lines = [json.loads(line) for line in self._run("export").splitlines()]
        kept = [line for line in lines if not self.takes(line)]
        self.taken = len(lines) - len(kept)
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        self._run("import", "\n".join(json.dumps(line) for line in kept) + "\n")

    def _run(self, command, text=None):
        return subprocess.run([self.tool, "-d", self.broker.path("store"), command], input=text,
                              check=True, text=True, capture_output=True).stdout


def _finds(kind, takes):
    robbed = Robbed(takes).run()
    assert robbed.taken, "there was nothing to take"
    found = robbed.cast.violations.counts
    assert kind in found, f"{robbed.taken} taken, found: {found}"


@case("The torture finds that messages are missing")
def messages_missing(_t):
    _finds("lost", lambda line: line["type"] == "message")


@case("The torture finds that a retained message is missing")
def retained_missing(_t):
    _finds("retained", lambda line: line["type"] == "retained" and line["topic"].startswith("r/"))


@case("The torture finds that a subscription is missing")
def subscription_missing(_t):
    _finds("subscription lost",
           lambda line: line["type"] == "subscription" and line["filter"].startswith("f/"))


@case("The torture finds that wills are missing")
def wills_missing(_t):
    _finds("lost of wills", lambda line: line["type"] == "will")


def _device(kind):
    violations = Violations()
    return kind(Crowd(1, violations), "device", V5), violations.counts


@case("A subscription that is gone, or back, is seen")
def flipper_sees(_t):
    device, counts = _device(Flipper)
    first, second = list(device.knows)[:2]
    device.knows[first] = YES
    device.check(b"1")
    assert counts == {"subscription lost": 1}, counts
    device.probes = {(first, b"1"), (second, b"1")}
    device.knows[second] = NO
    device.check(b"1")
    assert counts == {"subscription lost": 1, "subscription back": 1}, counts


@case("A session that is gone, from nowhere, or there after Clean Start is seen")
def sessions_are_seen(_t):
    device, counts = _device(Wanderer)
    device.send = lambda _data: None
    for before, clean, present in ((YES, False, 0), (NO, False, 1), (YES, True, 1)):
        device.before, device.clean = before, clean
        device._handle(Packet.parse(bytes((0x20, 3, present, 0, 0)), V5))
    assert counts == {"session lost": 1, "session from nowhere": 1,
                      "session present after Clean Start": 1}, counts


@case("What a discarded session had subscribed to is seen")
def discarded_is_seen(_t):
    device, counts = _device(Wanderer)
    device.filter = YES, "g/device/2"
    device.on_message(Packet.parse(b"\x30\x0e\x00\x0ag/device/1\x00x", V5))
    assert counts == {"discarded session's subscription": 1}, counts


def _settles(left_at, idle_s=10):
    """With a clock of its own, a second a step. left_at: second -> what is left. True or False, and when."""
    second = [0]

    def step():
        second[0] += 1
        assert second[0] < 100000, "nobody found out"

    settled = settles(lambda: left_at(second[0]) == (0, 0), lambda: left_at(second[0]), step, idle_s,
                      lambda: second[0])
    return settled, second[0]


@case("What goes on slowly is no hang, and what stands is one")
def slow_is_no_hang(_t):
    settled = _settles(lambda second: (0, 0) if second >= 900 else (0, 100 - second // 9))
    assert settled == (True, 900), settled
    settled = _settles(lambda second: (max(3 - second, 0), 5 + min(second, 3)))     # answers entitle to more
    assert settled == (False, 3 + 11), settled
    settled = _settles(lambda second: (0, 5 + second % 2))      # comes again, and is never less
    assert settled[0] is False, settled
