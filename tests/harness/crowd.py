# SPDX-License-Identifier: Apache-2.0
"""Devices on one event loop. A device outlives the broker: what a client has to keep on its own disk
(unacknowledged packets, Packet Identifiers, what it knows of its session) stays when the broker dies,
and it comes back as the specification wants."""
import contextlib
import errno
import random
import selectors
import socket
import time
from collections import OrderedDict

from harness.mqtt_packets import (CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC,
                                  PUBREL, SUBACK, UNSUBACK, V5, Packet, connect, disconnect, pingreq,
                                  puback, pubcomp, publish, pubrec, pubrel, subscribe, unsubscribe)

EXPIRY_S = 100000
YES, NO, MAYBE = "yes", "no", "maybe"


class Crowd:
    """The loop, and the port of the broker that comes and goes."""

    def __init__(self, port, violations, seed=None):
        self.port = port
        self.violations = violations
        self.rng = random.Random(seed)
        self.selector = selectors.DefaultSelector()
        self.devices = []
        self.load = False       # new work is made
        self.unexpected = {}    # reason -> how often the broker closed or refused with it

    def turn(self, wait_s=0.005):
        now = time.monotonic()
        for device in self.devices:
            device.tick(now)
        for key, events in self.selector.select(wait_s):
            key.data.on_ready(events)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def run_until(self, predicate, deadline_s):
        end = time.monotonic() + deadline_s
        while not predicate():
            if time.monotonic() > end:
                return False
            self.turn()
        return True

    def close(self):
        for device in self.devices:
            device.drop()
        self.selector.close()


class Flight:
    """A PUBLISH that is not finished."""

    def __init__(self, topic, payload, qos, retain, on_end, properties=None):
        self.topic, self.payload, self.qos, self.retain = topic, payload, qos, retain
        self.on_end = on_end    # on_end(True: acknowledged, False: refused)
        self.properties = properties
        self.is_released = False
        self.sends = 0


class Device:
    """A client of its own Client Identifier. Subclasses do the work in their hooks."""

    expiry_s = EXPIRY_S     # of its session, in version 5

    def __init__(self, crowd, name, version, clean=False):
        self.crowd, self.name, self.version, self.clean = crowd, name, version, clean
        self.rng = crowd.rng
        self.sock = None
        self.is_up = False          # CONNACK has come
        self.wants_up = True
        self.next_try = 0.0
        self.buffer = b""
        self.out = b""
        self.session = NO           # does the broker keep one?
        self.before = NO            # the same, before the last CONNECT
        self.packet_id = 0
        self.receive_maximum = 65535    # the broker's
        self.flights = OrderedDict()
        self.held = set()           # QoS 2 towards us, PUBREL has not come
        self.requests = {}          # Packet Identifier -> what to do with its SUBACK, UNSUBACK
        self.pongs = 0
        self.pings = 0
        crowd.devices.append(self)

    # -- hooks ------------------------------------------------------------------------------------

    def work(self, now):
        """Called each turn while connected."""

    def on_up(self, session_present):
        """After CONNACK, and after what was unfinished has been sent again."""

    def on_message(self, packet):
        pass

    def will(self):
        return None

    # -- connection -------------------------------------------------------------------------------

    def tick(self, now):
        if self.sock is None:
            if self.wants_up and now >= self.next_try:
                self._open()
        elif self.is_up:
            self.work(now)

    def _open(self):
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = self.out = b""
        code = self.sock.connect_ex(("127.0.0.1", self.crowd.port))
        if code not in (0, errno.EINPROGRESS):
            self.drop()
            return
        self.crowd.selector.register(self.sock, selectors.EVENT_READ, self)
        # Until CONNACK nobody knows whether this CONNECT was carried out.
        self.before = self.session
        if self.clean or self.session != YES:
            self.session = MAYBE
        properties = None
        if self.version == V5:
            properties = {"session_expiry_interval": self.expiry_s, "receive_maximum": 40}
        self.send(connect(self.name, self.version, self.clean, keep_alive=0, will=self.will(),
                          properties=properties))

    def drop(self, politely=False):
        """The connection ends, by whomever."""
        if self.sock is None:
            return
        if politely and self.is_up:
            self.send(disconnect())
        with contextlib.suppress(KeyError, ValueError):
            self.crowd.selector.unregister(self.sock)
        self.sock.close()
        self.sock = None
        self.is_up = False
        self.requests.clear()
        self.pings = self.pongs
        self.next_try = time.monotonic() + self.rng.random() * 0.05

    def send(self, data):
        self.out += data
        self._flush()

    def _flush(self):
        if self.sock is None or not self.out:
            return
        try:
            count = self.sock.send(self.out)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as err:
            if err.errno != errno.ENOTCONN:
                # What the broker had written before it died can still be read.
                self.out = b""
                return
            count = 0
        self.out = self.out[count:]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.out else 0)
        self.crowd.selector.modify(self.sock, events, self)

    def on_ready(self, events):
        if self.sock is None:
            return
        if events & selectors.EVENT_WRITE:
            self._flush()
        if not events & selectors.EVENT_READ:
            return
        try:
            data = self.sock.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.buffer += data
        self._packets()
        if not data:
            self.drop()

    def _packets(self):
        at, buffer = 0, self.buffer
        while self.sock is not None:
            size = _packet_size(buffer, at)
            if size is None:
                break
            self._handle(Packet.parse(buffer[at:at + size], self.version))
            at += size
        self.buffer = buffer[at:]

    # -- packets ----------------------------------------------------------------------------------

    def _handle(self, packet):
        kind = packet.type
        if kind == PUBLISH:
            self._on_publish(packet)
        elif kind in (PUBACK, PUBREC, PUBCOMP):
            self._on_answer(packet)
        elif kind == PUBREL:
            self.held.discard(packet.packet_id)
            self.send(pubcomp(packet.packet_id))
        elif kind == CONNACK:
            self._on_connack(packet)
        elif kind in (SUBACK, UNSUBACK):
            request = self.requests.pop(packet.packet_id, None)
            if request:
                request(packet)
        elif kind == PINGRESP:
            self.pongs += 1
        elif kind == DISCONNECT:
            self._unexpected(f"DISCONNECT 0x{packet.reason:02x}")

    def _unexpected(self, what):
        self.crowd.unexpected[what] = self.crowd.unexpected.get(what, 0) + 1

    def _on_connack(self, packet):
        if packet.reason:
            self._unexpected(f"CONNACK 0x{packet.reason:02x}")
            self.drop()
            return
        present = bool(packet.session_present)
        if not self.clean and self.before == YES and not present:
            self.crowd.violations.add("session lost", self.name)
        if self.before == NO and present:
            self.crowd.violations.add("session from nowhere", self.name)
        if self.clean and present:
            self.crowd.violations.add("session present after Clean Start", self.name)
        if not present:
            self.held.clear()
        self.receive_maximum = packet.properties.get("receive_maximum", 65535)
        self.session = YES if self.version == V5 or not self.clean else NO
        self.is_up = True
        for packet_id, flight in self.flights.items():
            self._send_flight(packet_id, flight, dup=present)
        self.on_up(present)

    def _send_flight(self, packet_id, flight, dup):
        flight.sends += 1
        if flight.is_released:
            self.send(pubrel(packet_id))
        else:
            self.send(publish(flight.topic, flight.payload, flight.qos, packet_id, flight.retain,
                              dup, flight.properties, self.version))

    def new_id(self):
        while True:
            self.packet_id = self.packet_id % 65535 + 1
            if self.packet_id not in self.flights and self.packet_id not in self.requests:
                return self.packet_id

    def publish(self, topic, payload, qos, retain=False, on_end=None, properties=None):
        packet_id = self.new_id()
        flight = Flight(topic, payload, qos, retain, on_end or (lambda _good: None), properties)
        self.flights[packet_id] = flight
        self._send_flight(packet_id, flight, dup=False)
        return flight

    def _on_answer(self, packet):
        flight = self.flights.get(packet.packet_id)
        if flight is None:
            return
        refused = packet.type != PUBCOMP and packet.reason >= 0x80
        if packet.type == PUBREC and not refused:
            if not flight.is_released:
                flight.is_released = True
                flight.on_end(True)
            self.send(pubrel(packet.packet_id))
            return
        del self.flights[packet.packet_id]
        if refused:
            self._unexpected(f"PUBLISH refused with 0x{packet.reason:02x}")
        if packet.type != PUBCOMP:
            flight.on_end(not refused)

    def _on_publish(self, packet):
        if packet.qos == 2:
            is_new = packet.packet_id not in self.held
            self.held.add(packet.packet_id)
            if is_new:
                self.on_message(packet)
            self.send(pubrec(packet.packet_id))
            return
        self.on_message(packet)
        if packet.qos == 1:
            self.send(puback(packet.packet_id))

    def subscribe(self, filters, then=None, properties=None):
        packet_id = self.new_id()
        self.requests[packet_id] = then or (lambda _packet: None)
        self.send(subscribe(packet_id, filters, self.version, properties))

    def unsubscribe(self, filters, then=None):
        packet_id = self.new_id()
        self.requests[packet_id] = then or (lambda _packet: None)
        self.send(unsubscribe(packet_id, filters, self.version))

    def ping(self):
        self.pings += 1
        self.send(pingreq())

    def is_flushed(self):
        """All PINGREQs of this connection are answered, so what the broker had sent before is here."""
        return self.is_up and self.pongs >= self.pings


def _packet_size(buffer, at):
    length = shift = 0
    for index in range(at + 1, min(at + 5, len(buffer))):
        byte = buffer[index]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            total = index + 1 - at + length
            return total if len(buffer) - at >= total else None
    return None
