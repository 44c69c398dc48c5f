# SPDX-License-Identifier: Apache-2.0
"""The parts that devices play in the torture, and where a store is small."""
import time

from harness.crowd import MAYBE, NO, YES, Device
from harness.mqtt_packets import V5, V311, publish
from harness.oracle import Retained

WINDOW = 20


def payload_of(stream, message, rng):
    fill = rng.choice((0, 0, 20, 200, 3000))
    return b"%d:%d:" % (stream.number, message) + b"." * fill


def numbers_of(payload):
    number, message, _fill = payload.split(b":", 2)
    return int(number), int(message)


class Publisher(Device):
    """Persistent, so that its Packet Identifiers survive: streams at QoS 1 and 2, and topics whose
    retained value changes and goes."""

    def __init__(self, crowd, name, version, streams, retained):
        super().__init__(crowd, name, version)
        self.streams = streams
        self.retained = [Retained(topic) for topic in retained]
        self.value = 0

    def work(self, _now):
        window = min(WINDOW, self.receive_maximum)
        while self.crowd.load and len(self.flights) < window and not self.out:
            if self.retained and self.rng.random() < 0.2:
                self._set_retained(self.rng.choice(self.retained))
            else:
                self._next(self.rng.choice(self.streams))

    def _next(self, stream):
        stream.sent += 1
        message = stream.sent

        def on_end(good):
            (stream.acked if good else stream.refused).add(message)

        self.publish(stream.topic, payload_of(stream, message, self.rng), stream.qos, stream.retain,
                     on_end)

    def _set_retained(self, topic):
        self.value += 1
        value = b"" if self.rng.random() < 0.2 else b"%d" % self.value
        if value == b"" and b"" in topic.values:
            return      # which of two deletions was acknowledged cannot be told apart
        topic.sent(value)
        self.publish(topic.topic, value, 1, True,
                     lambda good: topic.acked(value) if good else topic.refused(value))


class Subscriber(Device):
    """Persistent; goes away and comes back. What it gets is what receiver is entitled to."""

    def __init__(self, crowd, name, version, filters, receiver, restless=0.002, identifier=None):
        super().__init__(crowd, name, version)
        self.filters, self.receiver, self.restless = filters, receiver, restless
        self.identifier = identifier
        self.is_subscribed = False

    def on_up(self, session_present):
        if not self.is_subscribed:
            properties = {"subscription_identifier": self.identifier} if self.identifier else None
            self.subscribe(self.filters, self._on_suback, properties)

    def _on_suback(self, packet):
        if any(reason >= 0x80 for reason in packet.reasons):
            self.crowd.violations.add("subscription refused", f"{self.name}: {packet.reasons}")
        self.is_subscribed = True

    def work(self, _now):
        if self.crowd.load and self.is_subscribed and self.rng.random() < self.restless:
            self.drop(politely=self.rng.random() < 0.5)
            self.next_try += self.rng.random() * 0.3

    def on_message(self, packet):
        number, message = numbers_of(packet.payload)
        note = f"(DUP {int(packet.dup)}, packet id {packet.packet_id})"
        self.receiver.saw(number, message, note)
        if self.identifier and packet.properties.get("subscription_identifier") != [self.identifier]:
            self.crowd.violations.add("identifier lost", f"{self.name}: {packet!r}"[:200])


class Flipper(Device):
    """Subscribes and unsubscribes. knows: filter -> whether the broker has it."""

    FILTERS = 6

    def __init__(self, crowd, name, version):
        super().__init__(crowd, name, version)
        self.knows = {f"f/{name}/{index}": NO for index in range(self.FILTERS)}
        self.probes = set()
        self.changes = 0

    def on_up(self, session_present):
        # Requests that the broker's death cut off may have been done or not: that stays MAYBE.
        pass

    def work(self, _now):
        if not self.crowd.load or self.requests:
            return
        if self.rng.random() < 0.005:
            self.drop(politely=self.rng.random() < 0.5)
            return
        text = self.rng.choice(list(self.knows))
        wanted = NO if self.knows[text] == YES else YES
        self.knows[text] = MAYBE

        def then(packet):
            if wanted == NO or packet.reasons[0] < 0x80:
                self.knows[text] = wanted
                self.changes += 1

        if wanted == YES:
            self.subscribe([(text, self.rng.choice((1, 2)))], then)
        else:
            self.unsubscribe([text], then)

    def on_message(self, packet):
        self.probes.add((packet.topic, packet.payload))

    def check(self, payload):
        for text, known in self.knows.items():
            has = (text, payload) in self.probes
            if known == YES and not has:
                self.crowd.violations.add("subscription lost", f"{self.name}: {text}")
            if known == NO and has:
                self.crowd.violations.add("subscription back", f"{self.name}: {text}")

    def has_all(self, payload):
        return all((text, payload) in self.probes for text, known in self.knows.items()
                   if known == YES)


class Wanderer(Device):
    """Begins sessions, resumes them, discards them with Clean Start. What it subscribed to belongs to
    one generation of its session."""

    def __init__(self, crowd, name, version):
        super().__init__(crowd, name, version)
        self.generation = 0
        self.probes = set()
        self.filter = MAYBE, None       # known, text

    def _open(self):
        self.clean = self.crowd.load and self.rng.random() < 0.4
        if self.clean:
            self.filter = MAYBE, None
        super()._open()

    def on_up(self, session_present):
        if session_present:
            return
        self.generation += 1
        text = f"g/{self.name}/{self.generation}"
        self.filter = MAYBE, text

        def then(packet):
            # A session of version 3 with Clean Session ends with its connection.
            self.filter = (YES if self.session == YES and packet.reasons[0] < 0x80 else MAYBE), text

        self.subscribe([(text, 1)], then)

    def work(self, _now):
        if self.crowd.load and not self.requests and self.rng.random() < 0.02:
            self.drop(politely=self.rng.random() < 0.5)

    def on_message(self, packet):
        self.probes.add((packet.topic, packet.payload))
        if packet.topic != self.filter[1] and self.filter[1] is not None:
            self.crowd.violations.add("discarded session's subscription", f"{self.name}: "
                                      f"{packet.topic}, now {self.filter[1]}")

    def has_all(self, payload):
        known, text = self.filter
        return known != YES or (text, payload) in self.probes

    def check(self, payload):
        if not self.has_all(payload):
            self.crowd.violations.add("subscription lost", f"{self.name}: {self.filter[1]}")


class Mourned(Device):
    """Has a will, and is gone until the will was seen. Reborn with the next number."""

    def __init__(self, crowd, name, version, stream, delay_s):
        super().__init__(crowd, name, version)
        self.stream, self.delay_s = stream, delay_s
        self.is_dead = False

    def _open(self):
        # Each CONNECT has a will of its own: what became of one without CONNACK nobody knows.
        self.stream.sent += 1
        super()._open()

    def will(self):
        properties = {"will_delay_interval": self.delay_s} if self.version == V5 else None
        return {"topic": self.stream.topic, "qos": self.stream.qos, "properties": properties,
                "payload": b"%d:%d:" % (self.stream.number, self.stream.sent)}

    def work(self, _now):
        if self.crowd.load and self.rng.random() < 0.003:
            self.drop()

    def drop(self, politely=False):
        if self.is_up:
            # From its CONNACK on the will is promised.
            self.is_dead = True
            self.wants_up = False
            self.stream.acked.add(self.stream.sent)
        super().drop(politely)

    def settle(self):
        """The will of a connection that lives on is still to come."""
        self.stream.settle()
        if not self.is_dead:
            self.stream.floor = self.stream.sent - 1
        self.is_dead = False
        self.wants_up = True


class Probe(Device):
    """Publishes one message under each topic that somebody might be subscribed to."""

    def __init__(self, crowd, name):
        super().__init__(crowd, name, V5, clean=True)
        self.left = 0

    def ask(self, topics, payload):
        def on_end(good):
            self.left -= 1
            if not good:
                self.crowd.violations.add("probe refused", "")

        self.left = len(topics)
        for topic in topics:
            self.publish(topic, payload, 1, on_end=on_end)


class Reader(Device):
    """Comes once, and reads what is retained."""

    def __init__(self, crowd, name, text):
        super().__init__(crowd, name, V5, clean=True)
        self.text = text
        self.values = {}

    def on_up(self, session_present):
        self.values = {}
        self.subscribe([(self.text, 1)])

    def on_message(self, packet):
        self.values[packet.topic] = packet.payload


class Witness(Device):
    """Needs no store: sends itself one message after the other, and notes how long each took."""

    def __init__(self, crowd, name, qos):
        super().__init__(crowd, name, V311, clean=True)
        self.qos = qos
        self.topic = f"n/{name}"
        self.is_subscribed = False
        self.sent_at = None
        self.took = []

    def on_up(self, session_present):
        self.is_subscribed = False
        self.sent_at = None
        self.subscribe([(self.topic, self.qos)], self._on_suback)

    def _on_suback(self, _packet):
        self.is_subscribed = True

    def work(self, now):
        if self.is_subscribed and self.sent_at is None:
            self.sent_at = now
            if self.qos:
                self.publish(self.topic, b"x", self.qos)
            else:
                self.send(publish(self.topic, b"x", version=self.version))

    def on_message(self, packet):
        if self.sent_at is not None:
            self.took.append(time.monotonic() - self.sent_at)
            self.sent_at = None

    def waited(self):
        """Also what is still waited for."""
        now = time.monotonic()
        return self.took + ([now - self.sent_at] if self.sent_at is not None else [])
