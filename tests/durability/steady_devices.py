# SPDX-License-Identifier: Apache-2.0
"""The parts that devices play in the steady load: each makes the store take something and give it back."""
from harness.crowd import NO, Device
from harness.mqtt_packets import V5

WINDOW = 20
LOADS, KEPT = 40, 500           # topics: of messages, and of retained ones


class Tally:
    """What the crowd did: kind -> how often. And at which pace it comes and goes."""

    def __init__(self, pace):
        self.counts = {}
        self.pace = pace

    def add(self, kind):
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def __getitem__(self, kind):
        return self.counts.get(kind, 0)


class Player(Device):
    """Comes and goes: up for a while, away for a while, both in seconds (from, to), times the cast's
    pace."""

    stay_s, away_s, polite = (5, 15), (5, 15), 0.5

    def __init__(self, crowd, name, version, tally):
        super().__init__(crowd, name, version)
        self.tally = tally
        self.pace = tally.pace
        self.ends = 0.0
        self.next_try = crowd.rng.random()

    def on_up(self, session_present):
        self.ends = None

    def work(self, now):
        if self.ends is None:
            self.ends = now + self.pace * self.rng.uniform(*self.stay_s)
        if now >= self.ends:
            self.drop(politely=self.rng.random() < self.polite)
            self.next_try = now + self.pace * self.rng.uniform(*self.away_s)

    def on_message(self, packet):
        self.tally.add("received")
        if packet.properties.get("message_expiry_interval") is not None:
            self.tally.add("received before it expired")


class Feeder(Device):
    """Publishes so many messages a second: at QoS 1 and 2, some that expire soon, some retained, and some
    that delete what is retained."""

    def __init__(self, crowd, name, version, tally, rate):
        super().__init__(crowd, name, version)
        self.tally, self.pause_s = tally, 1 / rate
        self.due = 0.0

    def work(self, now):
        # What could not be sent in time is not made up for: the load stays the same.
        self.due = max(self.due, now - 0.5)
        while self.due <= now and len(self.flights) < WINDOW and not self.out:
            self.due += self.pause_s
            self._next()

    def _next(self):
        rng = self.rng
        payload = b"." * rng.choice((20, 64, 64, 200, 600, 4000))
        qos = 1 + (rng.random() < 0.4)
        if rng.random() < 0.15:
            topic = f"kept/{rng.randrange(KEPT)}"
            value = b"" if rng.random() < 0.3 else payload
            self.tally.add("retained" if value else "deleted")
            self.publish(topic, value, qos, True, self._on_end)
            return
        expires = self.version == V5 and rng.random() < 0.3
        self.publish(f"load/{rng.randrange(LOADS)}", payload, qos, False, self._on_end,
                     {"message_expiry_interval": rng.randint(1, 4)} if expires else None)

    def _on_end(self, good):
        self.tally.add("acknowledged" if good else "refused")


class Sleeper(Player):
    """A persistent session with the same subscriptions always, for which messages are queued."""

    def __init__(self, crowd, name, version, tally, filters, away_s):
        super().__init__(crowd, name, version, tally)
        self.filters, self.away_s = filters, away_s

    def on_up(self, session_present):
        super().on_up(session_present)
        if not session_present:
            self.subscribe(self.filters)


class Changer(Player):
    """Subscribes and unsubscribes, two or three times a second."""

    FILTERS = 6

    def __init__(self, crowd, name, version, tally):
        super().__init__(crowd, name, version, tally)
        self.has = set()

    def work(self, now):
        super().work(now)
        if self.is_up and not self.requests and self.rng.random() < 0.03:
            text = f"load/{self.rng.randrange(self.FILTERS)}"
            self.tally.add("subscriptions changed")
            if text in self.has:
                self.has.discard(text)
                self.unsubscribe([text])
            else:
                self.has.add(text)
                self.subscribe([(text, self.rng.choice((1, 2)))])


class Mayfly(Player):
    """Each life is a session of its own, which expires with what was queued for it."""

    stay_s, away_s = (1, 3), (1, 2)

    def __init__(self, crowd, name, tally):
        super().__init__(crowd, name, V5, tally)
        self.family, self.lives = name, 0

    def _open(self):
        self.lives += 1
        self.name = f"{self.family}-{self.lives}"
        self.session = NO
        self.expiry_s = self.rng.randint(2, 6)
        super()._open()

    def on_up(self, session_present):
        super().on_up(session_present)
        self.tally.add("sessions that expire")
        self.subscribe([(f"load/{self.rng.randrange(LOADS)}", 1), ("kept/+", 1)])


class Mortal(Player):
    """Has a will and dies of it."""

    stay_s, away_s, polite = (1, 6), (1, 4), 0.2

    def __init__(self, crowd, name, version, tally, number):
        super().__init__(crowd, name, version, tally)
        self.number = number

    def will(self):
        self.tally.add("wills")
        properties = {"will_delay_interval": self.number % 3} if self.version == V5 else None
        return {"topic": f"will/{self.number}", "payload": b"." * 50, "qos": 1 + self.number % 2,
                "retain": self.number % 4 == 0, "properties": properties}
