# SPDX-License-Identifier: Apache-2.0
"""Section 4.2: TCP is a stream, and cuts it as it likes."""
import random
import socket

from harness.mqtt_raw import (CONNACK, PINGRESP, PUBACK, PUBLISH, SUBACK, connect, disconnect,
                              pingreq, publish, subscribe, unsubscribe)
from harness.runner import case


def pieces(data, seed):
    """data cut at random places"""
    rng = random.Random(seed)
    at = 0
    while at < len(data):
        size = rng.choice((1, 2, 3, 7, 20, 100, 1000))
        yield data[at:at + size]
        at += size


@case("Packets are read however TCP cuts the stream", v5="4.2-1", v311="7.1.1-1", v31="")
def cut(t):
    topic = t.topic()
    for seed in range(4):
        client = t.raw(f"c{seed}")
        data = connect(client.client_id, version=t.version) + subscribe(1, topic, t.version)
        for number in range(60):
            data += publish(topic, b"%d" % number * (number * 7), 0, version=t.version)
            data += pingreq() if number % 3 else unsubscribe(number + 2, "x", t.version)
        for piece in pieces(data, seed):
            client.sock.sendall(piece)
        client.expect(CONNACK, reason=0)
        client.expect(SUBACK, packet_id=1)
        got, others = [], 0
        while len(got) < 60 or others < 60:
            pkt = client.recv()
            if pkt.type == PUBLISH:
                got.append(pkt.payload)
            else:
                others += 1
        assert got == [b"%d" % n * (n * 7) for n in range(60)], got
        client.leave()


@case("Many packets in one segment are all handled", v5="4.2-1", v311="7.1.1-1")
def together(t):
    client = t.open()
    client.send(pingreq() * 500 + publish(t.topic(), b"x", 1, 1, version=t.version))
    for _ in range(500):
        client.expect(PINGRESP)
    client.expect(PUBACK, packet_id=1)


@case("What was sent before the client closed is handled", v5="4.2-1 4.5.0-1",
      v311="7.1.1-1 4.5.0-1")
def before_close(t):
    topic = t.topic()
    eye = t.open("eye")
    eye.subscribe((topic, 1))
    for number in range(10):
        client = t.raw(f"c{number}")
        client.send(connect(client.client_id, version=t.version)
                    + publish(topic, b"%d" % number, number % 2, number % 2 or None,
                              version=t.version) + disconnect())
        client.sock.shutdown(socket.SHUT_WR)
        eye.receive(topic, b"%d" % number, qos=number % 2)


@case("A half-closed connection still gets its answers", v5="4.2-1", v311="7.1.1-1")
def half_closed(t):
    client = t.open()
    client.send(publish(t.topic(), b"x", 1, 7, version=t.version) + pingreq())
    client.sock.shutdown(socket.SHUT_WR)
    seen = set()
    while len(seen) < 2:
        pkt = client.recv()
        if pkt is None:
            break
        seen.add(pkt.type)
    assert seen == {PUBACK, PINGRESP}, seen
