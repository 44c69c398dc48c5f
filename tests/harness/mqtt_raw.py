# SPDX-License-Identifier: Apache-2.0
"""Talking raw MQTT, with the packets of mqtt_packets (which this module hands on).

Connection is a socket with deadlines and a record of all bytes; Client adds the version, Topic
Aliases and small helpers (open, subscribe, publish with its handshake).
"""
import select
import socket
import struct
import time

from harness import DEADLINE_S, transport
from harness.mqtt_packets import *      # noqa: F403 - who talks needs all of the packets as well
from harness.mqtt_packets import (ANY, CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC,
                                  PUBREL, SUBACK, TYPE_NAMES, UNSUBACK, V5, V31, Malformed,
                                  Mismatch, Packet, connect, disconnect, pingreq, puback, pubcomp,
                                  publish, pubrec, pubrel, subscribe, unsubscribe)


class Connection:
    """A TCP connection that records everything, and whose every wait has a deadline."""

    def __init__(self, port, host="127.0.0.1", version=V5, name="", sock=None, rcvbuf=None):
        """rcvbuf: size of the socket's receive buffer, for clients that do not read. sock: an
        open socket to use instead (for example AF_UNIX)."""
        self.version = version
        self.name = name
        self.trace = []
        self.buffer = b""
        self.eof = False
        self.eof_at = None
        self.aliases = {}
        if sock is None:
            sock = transport.dial(host, port, rcvbuf, DEADLINE_S)
        self.sock = sock

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        """Close the socket without a word (a Will is published)."""
        self.sock.close()

    def abort(self):
        """Close with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, data, trickle=False):
        """Send bytes; trickle: one at a time. A broker that has closed meanwhile is noticed by
        the next read."""
        self.trace.append((">", bytes(data)))
        try:
            if not trickle:
                self.sock.sendall(data)
                return
            for index in range(len(data)):
                if self._is_readable(0):
                    self._fill(0)
                    if self.eof:
                        return
                self.sock.sendall(data[index:index + 1])
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _is_readable(self, timeout):
        """poll(), because select() ends at descriptor 1023."""
        # What a TLS socket or a WebSocket has read already makes no descriptor readable.
        if hasattr(self.sock, "pending") and self.sock.pending():
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(max(0, timeout) * 1000))

    def _fill(self, timeout):
        """Read what there is; False when nothing came in time."""
        if self.eof:
            return False
        end = time.monotonic() + timeout
        data = None
        # None: TLS or a WebSocket had something to say to itself.
        while data is None:
            if not self._is_readable(end - time.monotonic()):
                return False
            try:
                data = getattr(self.sock, "recv_now", self.sock.recv)(65536)
            except ConnectionResetError:
                data = b""
        if not data:
            self.eof = True
            self.eof_at = time.monotonic()
            return False
        self.buffer += data
        return True

    def _cut(self):
        """The next whole packet's bytes, or None."""
        length = 0
        for index in range(1, min(5, len(self.buffer))):
            byte = self.buffer[index]
            length |= (byte & 0x7F) << 7 * (index - 1)
            if not byte & 0x80:
                total = index + 1 + length
                if len(self.buffer) < total:
                    return None
                raw, self.buffer = self.buffer[:total], self.buffer[total:]
                return raw
        if len(self.buffer) > 4:
            raise Malformed("Remaining Length of more than four bytes: "
                            + self.buffer[:5].hex(" "))
        return None

    def recv(self, deadline_s=DEADLINE_S):
        """The next packet, or None when the broker has closed. Mismatch after the deadline."""
        end = time.monotonic() + deadline_s
        while True:
            raw = self._cut()
            if raw is not None:
                self.trace.append(("<", raw))
                return self._resolve(Packet.parse(raw, self.version))
            if self.eof:
                if self.buffer:
                    raise Malformed("connection closed inside a packet: " + self.buffer.hex(" "))
                return None
            if not self._fill(end - time.monotonic()) and not self.eof:
                if time.monotonic() >= end:
                    raise Mismatch(f"{self.name}: nothing came within {deadline_s} s")

    def _resolve(self, pkt):
        """Fill in the Topic Name behind a Topic Alias."""
        alias = pkt.properties.get("topic_alias") if pkt.type == PUBLISH else None
        if alias is not None:
            if pkt.topic:
                self.aliases[alias] = pkt.topic
            elif alias in self.aliases:
                pkt.topic = self.aliases[alias]
            else:
                raise Malformed(f"Topic Alias {alias} was never set")
        return pkt

    def expect(self, wanted, deadline_s=DEADLINE_S, properties=None, **fields):
        """The next packet has to be this one. wanted: a packet type or exact bytes. fields:
        attributes of Packet (a set means one of these); properties: name -> value, None for
        "absent", ANY for "present". Returns the packet."""
        pkt = self.recv(deadline_s)
        if isinstance(wanted, (bytes, bytearray)):
            if pkt is None or pkt.raw != bytes(wanted):
                raise Mismatch(f"{self.name}: expected {bytes(wanted).hex(' ')}, got "
                               + (pkt.raw.hex(" ") if pkt else "end of connection"))
            return pkt
        if pkt is None:
            raise Mismatch(f"{self.name}: expected {TYPE_NAMES[wanted]} {fields or ''}, "
                           "got end of connection")
        problems = [] if pkt.type == wanted else [f"type is not {TYPE_NAMES[wanted]}"]
        if not problems:
            problems = _compare(pkt, fields, properties or {})
        if problems:
            raise Mismatch(f"{self.name}: got {pkt!r}: " + "; ".join(problems))
        return pkt

    def expect_closed(self, reason=None, deadline_s=DEADLINE_S):
        """The broker closes now. reason: for version 5, the DISCONNECT before it has this code
        (or one of a set); None: no packet before. Older versions get no packet."""
        pkt = self.recv(deadline_s)
        if reason is not None and self.version == V5:
            allowed = reason if isinstance(reason, (set, frozenset)) else {reason}
            if pkt is None or pkt.type != DISCONNECT or pkt.reason not in allowed:
                codes = ", ".join(f"0x{code:02x}" for code in sorted(allowed))
                raise Mismatch(f"{self.name}: expected DISCONNECT {codes}, got "
                               + (repr(pkt) if pkt else "end of connection"))
            pkt = self.recv(deadline_s)
        if pkt is not None:
            raise Mismatch(f"{self.name}: expected the end of the connection, got {pkt!r}")

    def expect_alive(self):
        """PINGREQ is answered, and nothing else comes before."""
        self.send(pingreq())
        self.expect(b"\xd0\x00")

    def dump(self):
        """The record as lines, for the report of a failure."""
        lines = []
        for way, data in self.trace:
            text = data.hex(" ") if len(data) <= 200 else \
                data[:200].hex(" ") + f" ... ({len(data)} bytes)"
            lines.append(f"    {self.name} {way} {text}")
        if self.eof:
            lines.append(f"    {self.name} < (closed)")
        return lines


def _compare(pkt, fields, properties):
    problems = []
    for name, value in fields.items():
        got = getattr(pkt, name, None)
        right = got in value if isinstance(value, (set, frozenset)) else got == value
        if not right:
            problems.append(f"{name} is {got!r}, expected {value!r}")
    for name, value in properties.items():
        got = pkt.properties.get(name)
        if name == "subscription_identifier" and got and isinstance(value, list):
            got, value = sorted(got), sorted(value)     # their order means nothing
        right = got is not None if value is ANY else got == value
        if not right:
            problems.append(f"{name} is {got!r}, expected {value!r}")
    return problems


class Client(Connection):
    """A Connection that knows its version and makes the usual exchanges."""

    def __init__(self, port, version=V5, client_id="", **kwargs):
        super().__init__(port, version=version, **kwargs)
        self.client_id = client_id
        self.next_id = 0
        self.connack = None

    def new_id(self):
        self.next_id = self.next_id % 65535 + 1
        return self.next_id

    def open(self, session_present=None, reason=0, **connect_args):
        """CONNECT and its CONNACK."""
        self.send(connect(self.client_id, version=self.version, **connect_args))
        fields = {} if session_present is None or self.version == V31 else \
            {"session_present": session_present}
        self.connack = self.expect(CONNACK, reason=reason, **fields)
        return self.connack

    def subscribe(self, *filters, reasons=None, properties=None):
        """Each filter: text or (text, options byte). reasons: expected, default what is asked."""
        packet_id = self.new_id()
        self.send(subscribe(packet_id, list(filters), self.version, properties))
        if reasons is None:
            reasons = [item[1] & 3 if isinstance(item, tuple) else 0 for item in filters]
        return self.expect(SUBACK, packet_id=packet_id, reasons=reasons)

    def unsubscribe(self, *filters, reasons=None):
        packet_id = self.new_id()
        self.send(unsubscribe(packet_id, list(filters), self.version))
        fields = {"reasons": reasons} if reasons is not None and self.version == V5 else {}
        return self.expect(UNSUBACK, packet_id=packet_id, **fields)

    def publish(self, topic, payload=b"", qos=0, retain=False, dup=False, properties=None,
                reason=frozenset({0, 0x10})):
        """Publish and finish the handshake; the connection must receive nothing else meanwhile."""
        packet_id = self.new_id() if qos else None
        self.send(publish(topic, payload, qos, packet_id, retain, dup, properties, self.version))
        if qos == 1:
            self.expect(PUBACK, packet_id=packet_id, reason=reason)
        elif qos == 2:
            self.expect(PUBREC, packet_id=packet_id, reason=reason)
            self.send(pubrel(packet_id))
            self.expect(PUBCOMP, packet_id=packet_id, reason=0)
        return packet_id

    def receive(self, topic, payload=b"", qos=0, retain=False, dup=False, properties=None,
                deadline_s=DEADLINE_S, finish=True):
        """Expect one PUBLISH and answer it."""
        pkt = self.expect(PUBLISH, deadline_s, properties, topic=topic, payload=payload, qos=qos,
                          retain=retain, dup=dup)
        if finish:
            self.finish(pkt)
        return pkt

    def receive_many(self, count, deadline_s=DEADLINE_S):
        """The next `count` PUBLISH packets, all handshakes finished, however they interleave."""
        found, waiting = [], set()
        while len(found) < count or waiting:
            pkt = self.recv(deadline_s)
            if pkt is None:
                raise Mismatch(f"{self.name}: connection ended after {len(found)} messages")
            if pkt.type == PUBLISH:
                found.append(pkt)
                if pkt.qos == 2:
                    waiting.add(pkt.packet_id)
                    self.send(pubrec(pkt.packet_id))
                elif pkt.qos == 1:
                    self.send(puback(pkt.packet_id))
            elif pkt.type == PUBREL and pkt.packet_id in waiting:
                waiting.remove(pkt.packet_id)
                self.send(pubcomp(pkt.packet_id))
            else:
                raise Mismatch(f"{self.name}: expected PUBLISH or PUBREL, got {pkt!r}")
        if len(found) > count:
            raise Mismatch(f"{self.name}: {len(found)} messages, expected {count}: {found}")
        return found

    def finish(self, pkt):
        """Answer a PUBLISH as its QoS asks; at QoS 2 PUBREL has to be the next packet."""
        if pkt.qos == 1:
            self.send(puback(pkt.packet_id))
        elif pkt.qos == 2:
            self.send(pubrec(pkt.packet_id))
            self.expect(PUBREL, packet_id=pkt.packet_id, reason=0)
            self.send(pubcomp(pkt.packet_id))

    def leave(self, reason=None, properties=None):
        """DISCONNECT, and wait until the broker has closed: then it has dealt with it."""
        self.send(disconnect(reason, properties))
        self.expect_closed()
        self.close()
