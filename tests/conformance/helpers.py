# SPDX-License-Identifier: Apache-2.0
"""What several chapters of the conformance cases need."""
import time

from harness.mqtt_raw import (CONNACK, DISCONNECT, PINGRESP, PUBLISH, SUBACK, V5, Mismatch, options,
                              pingreq, subscribe)

MALFORMED = 0x81
PROTOCOL_ERROR = 0x82
# Where the specification calls something wrong but leaves open which of the two it is.
BAD = frozenset({MALFORMED, PROTOCOL_ERROR})
BAD_TOPIC = frozenset({MALFORMED, PROTOCOL_ERROR, 0x90})


def bad_packet(t, data, reason=MALFORMED, **connect_args):
    """After CONNECT these bytes end the connection, whole and one byte at a time, and no other
    connection suffers."""
    other = t.open("other")
    for trickle in (False, True):
        client = t.open(f"bad{int(trickle)}", **connect_args)
        client.send(data, trickle)
        client.expect_closed(reason=reason)
    other.expect_alive()
    other.leave()


def bad_connect(t, data, reason=MALFORMED, silent=False, ways=(False, True)):
    """As the first bytes these end the connection. Version 5 is told the reason in a CONNACK
    (silent: or nothing); older versions are told nothing."""
    for trickle in ways:
        client = t.raw(f"bad{int(trickle)}")
        client.send(data, trickle)
        expect_refusal(client, reason, silent)


def expect_refusal(client, reason, silent=False):
    pkt = client.recv()
    if client.version != V5:
        if pkt is not None:
            raise Mismatch(f"expected the end of the connection without a packet, got {pkt!r}")
        return
    if pkt is None:
        if not silent:
            raise Mismatch("expected CONNACK before the end of the connection")
        return
    allowed = reason if isinstance(reason, (set, frozenset)) else {reason}
    if pkt.type != CONNACK or pkt.session_present or pkt.reason not in allowed:
        raise Mismatch(f"expected CONNACK {sorted(map(hex, allowed))}, got {pkt!r}")
    client.expect_closed()


def bad_filter(t, topic_filter, opts=0):
    """A Topic Filter that is none: SUBACK says so (0x8F or, before version 5, 0x80), or the
    connection ends."""
    client = t.open("filter")
    client.send(subscribe(1, [(topic_filter, opts)], t.version))
    pkt = client.recv()
    if pkt is None and t.version != V5:
        return
    if pkt is not None and pkt.type == SUBACK:
        wanted = [0x8F] if t.version == V5 else [0x80]
        if pkt.reasons != wanted:
            raise Mismatch(f"filter {topic_filter!r} was answered by {pkt!r}")
        return
    if pkt is None or pkt.type != DISCONNECT or pkt.reason not in BAD | {0x8F}:
        raise Mismatch(f"filter {topic_filter!r} was answered by {pkt!r}")
    client.expect_closed()


def let_pass(seconds):
    """Time is what the case is about (an expiry, a keep alive): there is nothing else to wait
    for."""
    time.sleep(seconds)


def elapsed_since(start):
    return time.monotonic() - start


class Fence:
    """Shows that nothing came: a message published after the one that must not arrive is the next
    thing that arrives. The order of one publisher holds, so nothing can still be on its way."""

    def __init__(self, t, subscriber, qos=0):
        self.topic = t.topic("fence")
        self.qos = qos
        self.count = 0
        self.subscriber = subscriber
        subscriber.subscribe((self.topic, qos))

    def check(self, publisher, properties=None):
        self.count += 1
        text = b"fence %d" % self.count
        publisher.publish(self.topic, text, qos=self.qos)
        self.subscriber.receive(self.topic, text, qos=self.qos, properties=properties)


def persistent(t, name="s", seconds=600, session_present=None, version=None, **connect_args):
    """A client whose session outlives its connection; Clean Start 0."""
    if (version or t.version) == V5:
        extra = dict(connect_args.pop("properties", None) or {})
        extra.setdefault("session_expiry_interval", seconds)
        connect_args["properties"] = extra
    return t.open(name, version=version, clean=False, session_present=session_present,
                  **connect_args)


def retained(t, topic, name="look"):
    """The payload retained at the topic, or None."""
    fence = t.topic("retained-fence")
    client = t.open(name)
    client.publish(fence, b"fence", retain=True, qos=1)
    client.subscribe(topic, fence)
    payload = None
    client.send(pingreq())
    pending = {fence, PINGRESP}
    while pending:
        pkt = client.recv()
        if pkt.type == PUBLISH and pkt.topic == topic and pkt.retain:
            payload = pkt.payload
        elif pkt.type == PUBLISH and pkt.topic == fence:
            pending.discard(fence)
        elif pkt.type == PINGRESP:
            pending.discard(PINGRESP)
        else:
            raise Mismatch(f"expected retained messages, got {pkt!r}")
    client.leave()
    return payload


def hold(qos=0, rap=False, rh=0, nl=False):
    return options(qos, nl, rap, rh)
