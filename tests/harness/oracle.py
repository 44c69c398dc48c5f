# SPDX-License-Identifier: Apache-2.0
"""What was promised, and whether it was kept. Knows nothing of sockets.

A stream is a row of numbered messages of one publisher at one QoS under one topic. A receiver is one
session, or a shared group, that is entitled to some streams. Numbers up to a stream's floor have been
settled at an earlier quiet moment.
"""
import time


def settles(is_over, left, step, idle_s, now=time.monotonic):
    """Steps until is_over(). False: what is left() has not become less for idle_s. How long all of it
    takes says only how fast the machine is; what goes on slowly does not hang."""
    least, since = left(), now()
    while not is_over():
        still = left()
        if still < least:
            least, since = still, now()
        elif now() - since > idle_s:
            return False
        step()
    return True


class Violations:
    """What went wrong, each kind shown a few times only."""

    SHOWN = 5

    def __init__(self):
        self.counts = {}
        self.texts = []
        self.tolerated = {}     # kinds that are counted but do not end the run: for a bug hunt

    def add(self, kind, text):
        if kind in self.tolerated:
            self.tolerated[kind] += 1
            return
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= self.SHOWN:
            self.texts.append(f"{kind}: {text}")

    def __bool__(self):
        return bool(self.counts)

    def report(self):
        lines = [f"{count} x {kind}" for kind, count in sorted(self.counts.items())]
        return "\n".join(lines + self.texts)


class Stream:
    def __init__(self, number, topic, qos, retain=False):
        self.number, self.topic, self.qos, self.retain = number, topic, qos, retain
        self.sent = 0           # the highest number that was begun
        self.floor = 0
        self.loose = 0          # up to here messages may come in any order
        self.acked = set()      # above the floor: the publisher was told that it is safe
        self.refused = set()    # above the floor: the publisher was told that it is not
        self.confirmed = 0      # acknowledged and settled

    def settle(self):
        self.floor = self.sent
        self.confirmed += len(self.acked)
        self.acked.clear()
        self.refused.clear()


class Receiver:
    """exactly_once(stream): may a message come twice? in_order: not for a group, whose members share."""

    def __init__(self, name, violations, qos=2, in_order=True, where=""):
        self.name, self.violations, self.qos, self.in_order = name, violations, qos, in_order
        self.where = where      # behind the kind of a violation
        self.streams = {}       # number -> Stream
        self.seen = {}          # number -> numbers of messages above the floor
        self.highest = {}
        self.received = self.doubled = 0

    def entitle(self, stream):
        self.streams[stream.number] = stream
        self.seen[stream.number] = set()
        self.highest[stream.number] = stream.floor

    def saw(self, number, message, note=""):
        stream = self.streams.get(number)
        if stream is None:
            self.violations.add("astray", f"{self.name} got stream {number}, message {message}")
            return
        self.received += 1
        where = f"{self.name}: {stream.topic} QoS {stream.qos} message {message}"
        if message > stream.sent:
            self.violations.add("invented", where)
        if message in stream.refused:
            self.violations.add("refused but delivered", where)
        if message in self.seen[number] or message <= stream.floor:
            self.doubled += 1
            if min(stream.qos, self.qos) == 2:
                self.violations.add("twice at QoS 2" + self.where, f"{where} {note}")
            return
        self.seen[number].add(message)
        if message < self.highest[number] and self.in_order and message > stream.loose:
            self.violations.add("out of order", f"{where} after {self.highest[number]} {note}")
        self.highest[number] = max(self.highest[number], message)

    def missing(self):
        """(stream, numbers) of what was acknowledged and has not come."""
        return [(stream, lost) for number, stream in self.streams.items()
                if (lost := stream.acked - self.seen[number])]

    def missing_count(self):
        return sum(len(lost) for _stream, lost in self.missing())

    def report_missing(self):
        for stream, lost in self.missing():
            for message in sorted(lost):
                self.violations.add("lost" + self.where, f"{self.name}: {stream.topic} QoS {stream.qos} "
                                    f"message {message} (sent up to {stream.sent})")

    def settle(self):
        for number, stream in self.streams.items():
            self.seen[number].clear()
            self.highest[number] = stream.floor


class Entitlements:
    """Who is entitled to which streams. Subclasses have `violations`, and devices on a `crowd`."""

    def __init__(self):
        self.streams = []
        self.receivers = []

    def _stream(self, topic, qos):
        stream = Stream(len(self.streams), topic, qos)
        self.streams.append(stream)
        return stream

    def _receiver(self, name, prefix, **how):
        receiver = Receiver(name, self.violations, **how)
        for stream in self.streams:
            if stream.topic.startswith(prefix):
                receiver.entitle(stream)
        self.receivers.append(receiver)
        return receiver

    def left(self):
        """What has still to be answered, then what has still to come: an answer may entitle to more."""
        devices = self.crowd.devices
        return (sum(len(device.flights) + (device.wants_up and not device.is_up) for device in devices),
                sum(receiver.missing_count() for receiver in self.receivers))


class Retained:
    """The last value of one topic: which of the values that were sent may it have?"""

    def __init__(self, topic):
        self.topic = topic
        self.values = [b""]     # from the last acknowledged one on
        self.confirmed = 0

    def sent(self, value):
        self.values.append(value)

    def acked(self, value):
        """Everything before it is over, if acknowledgements come in order, as they do at one QoS."""
        self.confirmed += 1
        if value in self.values:
            self.values = self.values[self.values.index(value):]

    def refused(self, value):
        """It has not happened."""
        if value in self.values:
            self.values.remove(value)

    def allows(self, value):
        return value in self.values

    def has_to_exist(self):
        return b"" not in self.values
