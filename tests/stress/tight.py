#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A crowd on a broker whose store is so small that it is busy all the time, and full now and then.

    tight.py [--seconds N] [--durability disk|process|none] [--mib N] [--faults] [--seed N]

Clients publish at each QoS, go away for a while so that the store fills, come back and drain it, are
taken over, subscribe and unsubscribe, begin sessions and discard them; the configuration is read again
meanwhile, and with --faults the disk is slow, or fails, now and then. All the time:

    T1  Whatever is asked is answered, or its connection is closed, within ANSWER_S.
    T2  Nobody is refused, and no old client closed, for want of room while the store was only busy.
    T3  What was acknowledged arrives, in order, at QoS 2 once; what was refused does not.
    T4  A connection that was taken over is closed.
    T5  When nobody publishes any more all of this ends, however long it takes, and the store takes
        messages again.
"""
import argparse
import errno
import os
import random
import selectors
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.append(os.path.join(os.path.dirname(HERE), "durability"))

from harness.broker import Broker                                       # noqa: E402
from harness.crowd import Crowd                                         # noqa: E402
from harness.devices import Flipper, Publisher, Subscriber, Wanderer    # noqa: E402
from harness.mqtt_packets import (PUBACK, PUBCOMP, PUBREC, SUBACK, UNSUBACK,   # noqa: E402
                                  V5, V311, publish)
from harness.oracle import Entitlements, Violations, settles         # noqa: E402
from harness.websocket import request                                   # noqa: E402
from shim import Shim                                                   # noqa: E402
from torture_support import CONTROL, say_what_is, shim_library         # noqa: E402

ANSWER_S = 60
IDLE_S = 60
LOOK_S = 0.3
RELOAD_S = 0.7
SAY_S = 3
ANSWERS = (PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK)
CALM = ("off", "ok", "busy")    # the store refuses nobody
REFUSED = ("0x97", "CONNACK 0x03")      # in what a device did not expect; 3: to 3.1.1


class Watched:
    """What each device here has besides: it notes since when it waits for an answer [T1], what it was
    refused [T2], and can be taken over by itself [T4]."""

    takeovers = 0.0         # chance in a turn
    is_forgetful = False    # a clean session: what was unfinished is not sent again

    def _open(self):
        self.asked_at = {"CONNACK": time.monotonic()}
        super()._open()

    def tick(self, now):
        super().tick(now)
        if self.sock is None:
            return
        if self.is_up and self.crowd.load and self.rng.random() < self.takeovers:
            self.crowd.leave_to_broker(self)
            return
        for what, since in self.asked_at.items():
            if now - since > ANSWER_S:
                self.crowd.violations.add("unanswered", f"{self.name}: {what} for {ANSWER_S} s")
                self.asked_at.clear()
                return

    def drop(self, politely=False):
        super().drop(politely)
        self.on_parted()

    def on_parted(self):
        """Its connection has gone, or was left to the broker."""
        if self.is_forgetful:
            self.flights.clear()

    def _send_flight(self, packet_id, flight, dup):
        self.asked_at[packet_id] = time.monotonic()
        super()._send_flight(packet_id, flight, dup)

    def subscribe(self, filters, then=None, properties=None):
        super().subscribe(filters, then, properties)
        self.asked_at[self.packet_id] = time.monotonic()

    def unsubscribe(self, filters, then=None):
        super().unsubscribe(filters, then)
        self.asked_at[self.packet_id] = time.monotonic()

    def ping(self):
        super().ping()
        self.asked_at["PINGRESP"] = time.monotonic()

    def _handle(self, packet):
        self.since = None
        if packet.type in ANSWERS:
            self.since = self.asked_at.pop(packet.packet_id, None)
        super()._handle(packet)
        if packet.type == PUBREC and packet.packet_id in self.flights:     # PUBREL has been sent
            self.asked_at[packet.packet_id] = time.monotonic()
        if self.pongs >= self.pings:
            self.asked_at.pop("PINGRESP", None)

    def _on_connack(self, packet):
        self.since = self.asked_at.pop("CONNACK", None)
        super()._on_connack(packet)

    def _unexpected(self, what):
        super()._unexpected(what)
        if self.since is not None and any(word in what for word in REFUSED):
            self.crowd.refusals.append((self.since, f"{self.name}: {what}"))


class Talker(Watched, Publisher):
    """One stream at each QoS, sometimes with large messages; bursts and pauses."""

    takeovers = 0.002

    def __init__(self, crowd, name, version, streams, retained, clean):
        super().__init__(crowd, name, version, streams, retained)
        self.clean = self.is_forgetful = clean
        self.rests_until = 0.0

    def on_parted(self):
        """A new session is another publisher. And of what is sent again a part may have been refused
        before, unheard, so that it only now comes."""
        super().on_parted()
        for stream in self.streams:
            if self.clean or (self.version == V5 and stream.qos > 0):
                stream.loose = stream.sent

    def work(self, now):
        if now < self.rests_until:
            return
        super().work(now)
        if self.rng.random() < 0.01:
            self.rests_until = now + self.rng.random() * 0.3

    def _next(self, stream):
        stream.sent += 1
        message = stream.sent
        payload = b"%d:%d:" % (stream.number, message) + bytes(self.rng.choice(self.crowd.fills))
        if stream.qos == 0:
            self.send(publish(stream.topic, payload, version=self.version))
            return

        def on_end(good):
            if good:
                stream.acked.add(message)
            elif flight.sends == 1:     # else it may have been taken before, and its answer lost
                stream.refused.add(message)

        flight = self.publish(stream.topic, payload, stream.qos, on_end=on_end)


class Listener(Watched, Subscriber):
    """Persistent, and here most of the time."""

    takeovers = 0.001

    def work(self, now):
        super().work(now)
        self.ask_now_and_then()

    def ask_now_and_then(self):
        if self.is_up and self.is_flushed() and self.rng.random() < 0.02:
            self.ping()


class Hoarder(Listener):
    """Is away for long, so that the store fills, and drains it when it comes."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.leaves_at = 0.0

    def on_up(self, session_present):
        super().on_up(session_present)
        self.leaves_at = time.monotonic() + 0.2 + self.rng.random()

    def work(self, now):
        if self.crowd.load and self.is_subscribed and now > self.leaves_at:
            self.drop(politely=self.rng.random() < 0.5)
            self.next_try = now + self.rng.random() * self.crowd.away_s


class Faithful(Listener):
    """With a clean session, and never away: it need not be kept anything, and gets all."""

    takeovers = 0.0

    def work(self, now):
        self.ask_now_and_then()

    def drop(self, politely=False):
        if self.is_up and self.crowd.is_open:
            self.crowd.violations.add("closed", f"{self.name}, which did nothing")
        super().drop(politely)


class Fickle(Watched, Flipper):
    """Subscribes and unsubscribes."""


class Mayfly(Watched, Wanderer):
    """Begins sessions and discards them."""


class Zombie:
    """A connection that its client has left to the broker, for another one [T4]."""

    def __init__(self, crowd, sock, name):
        self.crowd, self.sock, self.name = crowd, sock, name
        self.since = time.monotonic()
        crowd.selector.register(sock, selectors.EVENT_READ, self)

    def on_ready(self, _events):
        try:
            data = self.sock.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()

    def close(self):
        self.crowd.selector.unregister(self.sock)
        self.sock.close()
        self.crowd.zombies.remove(self)


class TightCrowd(Crowd):
    def __init__(self, port, violations, seed, fills, away_s):
        super().__init__(port, violations, seed)
        self.fills, self.away_s = fills, away_s
        self.zombies = []
        self.refusals = []      # since the last look: when it was asked for, who and what
        self.taken_over = 0
        self.is_open = True

    def leave_to_broker(self, device):
        """The device comes back at once, while its old connection still stands."""
        self.selector.unregister(device.sock)
        self.zombies.append(Zombie(self, device.sock, device.name))
        device.sock, device.is_up = None, False
        device.requests.clear()
        device.pings = device.pongs
        device.on_parted()
        device.next_try = 0.0
        self.taken_over += 1

    def turn(self, wait_s=0.002):
        super().turn(wait_s)
        for zombie in self.zombies:
            if time.monotonic() - zombie.since > ANSWER_S:
                self.violations.add("taken over, and open still", zombie.name)
                zombie.close()
                break

    def close(self):
        self.is_open = False
        for zombie in list(self.zombies):
            zombie.close()
        super().close()


class StoreWatch:
    """The store's state over time, as the metrics tell it [T2]."""

    def __init__(self, port):
        self.port = port
        self.was, self.looked_at = self.look(), time.monotonic()
        self.states = {}

    def look(self):
        """A page is not of one moment: only what does not change from one to the next holds."""
        before, now = self._page(), self._page()
        return now if now["full"] == before["full"] else {**now, "state": "changing"}

    def _page(self):
        text = request(self.port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").body.decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in "#")
        state = next(line.split('state="')[1].split('"')[0] for line in lines
                     if line.startswith("nightjar_store_info"))
        return {"state": state,
                "full": float(lines.get("nightjar_store_refusing_total", 0)),
                "closed": float(lines['nightjar_connections_closed_total{cause="store_full"}']),
                "parked": float(lines['nightjar_connections_parked_total{reason="store"}'])}

    def check(self, crowd):
        """What was refused since the last look: was there a reason?"""
        was, now = self.was, self.look()
        self.states[now["state"]] = self.states.get(now["state"], 0) + 1
        if was["state"] in CALM and now["state"] in CALM and was["full"] == now["full"]:
            for since, what in crowd.refusals:
                # What was asked for before may wait for its turn behind other answers.
                if since > self.looked_at:
                    crowd.violations.add("refused, and the store was not full", what)
            if now["closed"] > was["closed"]:
                crowd.violations.add("closed, and the store was not full", str(now))
        crowd.refusals.clear()
        self.was, self.looked_at = now, time.monotonic()


class Tight(Entitlements):
    """One run. After run(): violations, and sum()."""

    idle_s = IDLE_S     # in which nothing goes on, although something is left: it hangs

    def __init__(self, seconds, durability="disk", mib=4, seed=None, workers=4, faults=False,
                 away_s=3.0):
        super().__init__()
        self.seconds, self.durability, self.mib, self.has_faults = seconds, durability, mib, faults
        self.away_s = away_s
        self.seed = seed if seed is not None else random.randrange(1 << 30)
        self.rng = random.Random(self.seed)
        self.violations = Violations()
        self.broker = Broker(self._config(), workers=workers)
        self.crowd = self.watch = self.shim = None
        self.reloads = 0

    def _config(self):
        """Some of it changes with each reload."""
        rng = self.rng
        lines = ["listener {port} 127.0.0.1", "protocol any", "allow_anonymous true",
                 CONTROL.strip(), "persistence true", "persistence_location {dir}/store/",
                 f"durability {self.durability}", f"persistence_max_size {self.mib << 20}",
                 "max_queued_messages 0", "max_inflight_messages 10", "connection_messages false",
                 "log_type error", "log_type warning", "log_type notice",
                 f"persistence_full_wait {rng.choice((1, 1, 2))}",
                 f"queue_memory_messages {rng.choice((1, 4, 20, 1000))}",
                 f"fanout_slice {rng.choice((1, 3, 500))}",
                 f"mailbox_letters {self._once('letters', (4, 16, 4096))}"]
        if os.geteuid() == 0:
            lines.append("user root")
        return "\n".join(lines) + "\n"

    def _once(self, name, values):
        """What needs a restart to change."""
        if not hasattr(self, name):
            setattr(self, name, self.rng.choice(values))
        return getattr(self, name)

    # -- the cast ---------------------------------------------------------------------------------

    def _cast(self):
        crowd = self.crowd
        self.talkers = []
        for n in range(10):
            streams = [self._stream(f"{part}/p{n}/q{qos}", qos)
                       for part, qos in (("t", 0), ("t", 1), ("t", 2), ("s", 1), ("s", 2))]
            self.talkers.append(Talker(crowd, f"talker{n}", (V5, V311)[n % 2], streams,
                                       [f"r/p{n}/{k}" for k in range(2)], clean=n >= 6))
        self.subscribers = []
        for name, kind, version, qos in (
                ("v5q2", Listener, V5, 2), ("v4q2", Listener, V311, 2), ("v4q1", Listener, V311, 1),
                ("hoard5", Hoarder, V5, 2), ("hoard4", Hoarder, V311, 2), ("hoard1", Hoarder, V5, 1),
                ("live5", Faithful, V5, 2), ("live4", Faithful, V311, 1)):
            self.subscribers.append(kind(crowd, name, version, [("t/#", qos)],
                                         self._receiver(name, "t/", qos=qos), 0.002))
            self.subscribers[-1].clean = kind is Faithful
        group = self._receiver("group", "s/", in_order=False)
        for n in range(3):
            self.subscribers.append(Listener(crowd, f"member{n}", (V5, V311)[n % 2],
                                             [("$share/g/s/#", 2)], group, 0.005))
        self.others = [Fickle(crowd, f"fickle{n}", (V5, V311)[n % 2]) for n in range(2)]
        self.others += [Mayfly(crowd, f"mayfly{n}", (V5, V311)[n % 2]) for n in range(2)]

    # -- the run ----------------------------------------------------------------------------------

    def run(self):
        self.broker._prepare()
        try:
            if self.has_faults:
                os.mkdir(self.broker.path("store"), 0o700)
                self.shim = Shim(shim_library(), self.broker.dir, self.broker.path("store"))
                self.broker.extra_env.update(self.shim.env)
            self.broker.start_again()
            self._run()
            self.broker.stop()
            return self
        finally:
            self.broker.kill()
            if self.shim:
                self.shim.close()
            self.broker._remove_dir()

    def _run(self):
        self.watch = StoreWatch(self.broker.port) if self.durability != "none" else None
        fills = self.rng.choice(((0, 200, 2000), (4000,), (0, 0, 100), (500, 30000)))
        self.crowd = TightCrowd(self.broker.port, self.violations, self.seed, fills, self.away_s)
        try:
            self._cast()
            self._life()
            if self.violations:
                say_what_is(self.broker, self.talkers + self.subscribers)
                self._say_whether_it_goes_on()
        finally:
            self.crowd.close()

    def _say_whether_it_goes_on(self):
        left = self.left()
        self.crowd.run(SAY_S)
        print(f"# to be answered, and to come: {left}, and {SAY_S} s later {self.left()}", flush=True)

    def _life(self):
        if not self.crowd.run_until(lambda: all(s.is_subscribed for s in self.subscribers), ANSWER_S):
            self.violations.add("nobody is subscribed", "")
            return
        self.crowd.load = True
        end = time.monotonic() + self.seconds
        while time.monotonic() < end and not self.violations:
            self._go_on(RELOAD_S)
            self.broker.config_template = self._config()
            self.broker.write("broker.conf", self.broker.config_text())
            self.broker.reload()
            self.reloads += 1
            if self.shim:
                self._change_the_disk()
        if self.shim:
            self.shim.mend()
        self.crowd.load = False
        self._end()

    def _change_the_disk(self):
        """Half of the time it is well."""
        self.shim.mend()
        fault = self.rng.randrange(8)
        if fault == 0:
            self.shim["sync_delay_ms"] = self.rng.choice((20, 100, 400))
        elif fault == 1:
            self.shim.fail("sync", errno.EIO, self.rng.choice((1, 2, 100)))
        elif fault == 2:
            self.shim.fail("write", errno.EIO, self.rng.choice((1, 3, 100)))
        elif fault == 3:
            self.shim.fail("write", errno.ENOSPC, self.rng.choice((1, 3, 100)))

    def _go_on(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.violations:
            self.crowd.run(LOOK_S)
            if self.watch:
                self.watch.check(self.crowd)

    def _end(self):
        settles(lambda: self.violations or self._is_quiet(), self.left, lambda: self._go_on(LOOK_S),
                self.idle_s)
        if self.violations:
            return
        for device in self.talkers + self.subscribers:
            if device.flights or not device.is_up:
                self.violations.add("hangs", f"{device.name}: up {device.is_up}, "
                                    f"{len(device.flights)} PUBLISH")
        for receiver in self.receivers:
            receiver.report_missing()
        for device in self.subscribers:
            device.ping()
        if not self.crowd.run_until(lambda: all(s.is_flushed() for s in self.subscribers), ANSWER_S):
            self.violations.add("hangs", "a subscriber's PINGREQ")
        if self.watch and not self.crowd.run_until(lambda: self.watch.look()["state"] == "ok",
                                                   ANSWER_S):
            self.violations.add("the store does not take messages again", str(self.watch.look()))

    def _is_quiet(self):
        return (all(d.is_up and not d.flights for d in self.talkers)
                and all(s.is_up for s in self.subscribers)
                and not any(receiver.missing() for receiver in self.receivers))

    def sum(self):
        states = self.watch.states if self.watch else {}
        parked = self.watch.was["parked"] if self.watch else 0
        acked = sum(len(stream.acked) for stream in self.streams)
        refused = sum(len(stream.refused) for stream in self.streams)
        return (f"{self.durability}, {self.mib} MiB, seed {self.seed}: {acked} acknowledged, {refused} "
                f"refused, {parked:.0f} parked, looks {states}, {self.crowd.taken_over} taken over, "
                f"{self.reloads} reloads, unexpected {self.crowd.unexpected}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--durability", default="disk", choices=("disk", "process", "none"))
    parser.add_argument("--mib", type=int, default=4)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--away", type=float, default=3.0, metavar="SECONDS",
                        help="so long hoarders are away; less: the store is busy, and seldom full")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    run = Tight(options.seconds, options.durability, options.mib, options.seed,
                faults=options.faults, away_s=options.away).run()
    print(run.sum())
    if run.violations:
        print(run.violations.report())
    print(f"1 passed, {1 if run.violations else 0} failed")
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main())
