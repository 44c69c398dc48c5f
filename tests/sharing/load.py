# SPDX-License-Identifier: Apache-2.0
"""Publishers and subscribers whose messages cross from worker to worker as a plan says, in rounds: each
publisher sends its messages of the round, then all of them are awaited. So a window holds a known
number of messages, on any machine.

The connections of a Unix socket are dealt to the workers by turns, in the order in which they come.
"""
import socket

from harness import mqtt_packets as mqtt

DEADLINE_S = 60.0
PAYLOAD = b"x" * 64


class Lost(Exception):
    """Something else came than was sent."""


def _topic(number):
    return f"sharing/{number:04}"


class Plan:
    """pairs publishers and as many subscribers; subscriber n has topic n. target(publisher, message) is
    the topic of a publisher's message of that number in a round."""

    def __init__(self, pairs, messages, target):
        self.pairs = pairs
        self.topics = [[target(publisher, message) for message in range(messages)]
                       for publisher in range(pairs)]

    def count(self):
        return sum(len(topics) for topics in self.topics)

    def crossing(self, workers):
        """How many messages of a round have publisher and subscriber on different workers."""
        return sum((publisher - topic) % workers != 0
                   for publisher, topics in enumerate(self.topics) for topic in topics)


def plan(kind, workers, messages):
    """same: no message crosses. half: every second publisher's do, to the next worker. cross: all do, to
    the next worker. spread: each publisher's go to all workers by turns."""
    pairs = workers * max(2, 32 // workers)
    targets = {
        "same": lambda publisher, message: publisher,
        "half": lambda publisher, message: (publisher + publisher // workers % 2) % pairs,
        "cross": lambda publisher, message: (publisher + 1) % pairs,
        "spread": lambda publisher, message: (publisher + message) % pairs,
    }
    return Plan(pairs, messages, targets[kind])


class Load:
    """The clients of a plan, connected."""

    def __init__(self, path, a_plan, qos):
        self.path = path
        self.plan = a_plan
        self.qos = qos
        self.sockets = []
        self.publishers = [self._connect(f"p{n}") for n in range(a_plan.pairs)]
        self.subscribers = [self._connect(f"s{n}") for n in range(a_plan.pairs)]
        for number, client in enumerate(self.subscribers):
            client.sendall(mqtt.subscribe(1, [(_topic(number), qos)], version=mqtt.V311))
            self._read(client, 5)
        self.batches = [self._batch(topics) for topics in a_plan.topics]
        self.due = [0] * a_plan.pairs
        for topics in a_plan.topics:
            for topic in topics:
                self.due[topic] += 1

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for client in self.sockets:
            client.close()

    def _connect(self, name):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(DEADLINE_S)
        client.connect(self.path)
        self.sockets.append(client)
        client.sendall(mqtt.connect(name, version=mqtt.V311, keep_alive=0))
        if self._read(client, 4)[3] != 0:
            raise Lost("a CONNECT was refused")
        return client

    def _packet(self, topic, packet_id):
        return mqtt.publish(_topic(topic), PAYLOAD, qos=self.qos, version=mqtt.V311,
                            packet_id=packet_id if self.qos else None)

    def _batch(self, topics):
        return b"".join(self._packet(topic, number + 1) for number, topic in enumerate(topics))

    @staticmethod
    def _read(client, size):
        data = bytearray()
        while len(data) < size:
            more = client.recv(size - len(data))
            if not more:
                raise Lost("the broker closed a connection")
            data += more
        return data

    def _receive(self, number):
        """All that is due to a subscriber in this round; at QoS 1 acknowledged."""
        client, size = self.subscribers[number], len(self._packet(0, 1))
        data = self._read(client, size * self.due[number])
        if self.qos:
            at = 2 + 2 + len(_topic(0))
            client.sendall(b"".join(b"\x40\x02" + data[start + at:start + at + 2]
                                    for start in range(0, len(data), size)))

    def round(self):
        for client, batch in zip(self.publishers, self.batches):
            client.sendall(batch)
        for number in range(self.plan.pairs):
            self._receive(number)
        if self.qos:
            for client, topics in zip(self.publishers, self.plan.topics):
                self._read(client, 4 * len(topics))
