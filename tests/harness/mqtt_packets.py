# SPDX-License-Identifier: Apache-2.0
"""MQTT 3.1, 3.1.1 and 5 as bytes: build packets (also wrong ones), and read them strictly.

Building: connect(), publish(), subscribe() ... return bytes; packet() and props() build anything.
Reading: Packet.parse() refuses what a server may not send (reserved bits, a property in the wrong
packet, a length that does not end where the packet ends).
"""
import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)
TYPE_NAMES = ["RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
              "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP",
              "DISCONNECT", "AUTH"]

V31, V311, V5 = 3, 4, 5

_ALL = frozenset(range(1, 16)) | {"will"}
# identifier: name, type, packets that may hold it, may appear more than once
PROPERTIES = {
    0x01: ("payload_format_indicator", "byte", {PUBLISH, "will"}, False),
    0x02: ("message_expiry_interval", "u32", {PUBLISH, "will"}, False),
    0x03: ("content_type", "utf8", {PUBLISH, "will"}, False),
    0x08: ("response_topic", "utf8", {PUBLISH, "will"}, False),
    0x09: ("correlation_data", "binary", {PUBLISH, "will"}, False),
    0x0B: ("subscription_identifier", "varint", {PUBLISH, SUBSCRIBE}, True),
    0x11: ("session_expiry_interval", "u32", {CONNECT, CONNACK, DISCONNECT}, False),
    0x12: ("assigned_client_identifier", "utf8", {CONNACK}, False),
    0x13: ("server_keep_alive", "u16", {CONNACK}, False),
    0x15: ("authentication_method", "utf8", {CONNECT, CONNACK, AUTH}, False),
    0x16: ("authentication_data", "binary", {CONNECT, CONNACK, AUTH}, False),
    0x17: ("request_problem_information", "byte", {CONNECT}, False),
    0x18: ("will_delay_interval", "u32", {"will"}, False),
    0x19: ("request_response_information", "byte", {CONNECT}, False),
    0x1A: ("response_information", "utf8", {CONNACK}, False),
    0x1C: ("server_reference", "utf8", {CONNACK, DISCONNECT}, False),
    0x1F: ("reason_string", "utf8", {CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK,
                                     DISCONNECT, AUTH}, False),
    0x21: ("receive_maximum", "u16", {CONNECT, CONNACK}, False),
    0x22: ("topic_alias_maximum", "u16", {CONNECT, CONNACK}, False),
    0x23: ("topic_alias", "u16", {PUBLISH}, False),
    0x24: ("maximum_qos", "byte", {CONNACK}, False),
    0x25: ("retain_available", "byte", {CONNACK}, False),
    0x26: ("user_property", "pair", _ALL - {PINGREQ, PINGRESP}, True),
    0x27: ("maximum_packet_size", "u32", {CONNECT, CONNACK}, False),
    0x28: ("wildcard_subscription_available", "byte", {CONNACK}, False),
    0x29: ("subscription_identifier_available", "byte", {CONNACK}, False),
    0x2A: ("shared_subscription_available", "byte", {CONNACK}, False),
}
PROPERTY_IDS = {row[0]: ident for ident, row in PROPERTIES.items()}
BOOLEAN = {"request_problem_information", "request_response_information", "retain_available",
           "payload_format_indicator", "maximum_qos", "wildcard_subscription_available",
           "subscription_identifier_available", "shared_subscription_available"}
REASON_CODES = {
    CONNACK: {0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90,
              0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
    PUBACK: {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREC: {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREL: {0, 0x92},
    PUBCOMP: {0, 0x92},
    SUBACK: {0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
    UNSUBACK: {0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
    # what a server may send
    DISCONNECT: {0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
                 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1,
                 0xA2},
    AUTH: {0, 0x18},
}


class Malformed(Exception):
    """The broker sent something that the specification does not allow."""


class Mismatch(Exception):
    """Something else came than was expected, or nothing in time."""


class AnyValue:
    """Stands for a property that has to be there, whatever its value."""

    def __repr__(self):
        return "ANY"


ANY = AnyValue()

# -- building -----------------------------------------------------------------------------------


def u8(value):
    return struct.pack(">B", value)


def u16(value):
    return struct.pack(">H", value)


def u32(value):
    return struct.pack(">I", value)


def varint(value, width=None):
    """Variable Byte Integer; a width larger than needed makes the forbidden longer form."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        more = value > 0 or (width is not None and len(out) + 1 < width)
        out.append(low | (0x80 if more else 0))
        if not more:
            return bytes(out)


def binary(data):
    return u16(len(data)) + data


def utf8(text):
    """UTF-8 Encoded String; bytes are taken as they are, so that ill-formed text can be made."""
    return binary(text if isinstance(text, bytes) else text.encode("utf-8"))


def prop(name, value):
    """One property as bytes."""
    ident = PROPERTY_IDS[name]
    kind = PROPERTIES[ident][1]
    encoders = {"byte": u8, "u16": u16, "u32": u32, "varint": varint, "utf8": utf8,
                "binary": binary, "pair": lambda pair: utf8(pair[0]) + utf8(pair[1])}
    return u8(ident) + encoders[kind](value)


def prop_bytes(items):
    """Properties without their length. items: dict (a list value repeats the property), a list of
    (name, value), or bytes."""
    if items is None:
        return b""
    if isinstance(items, (bytes, bytearray)):
        return bytes(items)
    out = b""
    for name, value in items.items() if isinstance(items, dict) else items:
        for one in value if isinstance(value, list) else [value]:
            out += prop(name, one)
    return out


def props(items=None):
    """Property Length and properties."""
    body = prop_bytes(items)
    return varint(len(body)) + body


def packet(kind, flags, body=b""):
    return u8(kind << 4 | flags) + varint(len(body)) + body


def _v5(version, items):
    return props(items) if version == V5 else b""


def connect(client_id="", version=V5, clean=True, keep_alive=60, properties=None, will=None,
            username=None, password=None, name=None, level=None, flags=None, tail=b"",
            bridge=False):
    """will: dict(topic=, payload=, qos=, retain=, properties=). name, level and flags override
    what belongs to the version; tail is appended to the payload."""
    if name is None:
        name = "MQIsdp" if version == V31 else "MQTT"
    level = version if level is None else level
    if flags is None:
        flags = 0x02 if clean else 0
        if will:
            flags |= 0x04 | will.get("qos", 0) << 3 | (0x20 if will.get("retain") else 0)
        flags |= (0x40 if password is not None else 0) | (0x80 if username is not None else 0)
    body = utf8(name) + u8(level | (0x80 if bridge else 0)) + u8(flags) + u16(keep_alive)
    body += _v5(version, properties) + utf8(client_id)
    if will:
        body += _v5(version, will.get("properties"))
        body += utf8(will["topic"]) + binary(will.get("payload", b""))
    if username is not None:
        body += utf8(username)
    if password is not None:
        body += utf8(password)
    return packet(CONNECT, 0, body + tail)


def publish(topic, payload=b"", qos=0, packet_id=None, retain=False, dup=False, properties=None,
            version=V5):
    body = utf8(topic)
    if packet_id is not None:
        body += u16(packet_id)
    body += _v5(version, properties) + payload
    return packet(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body)


def ack(kind, packet_id, reason=None, properties=None):
    """PUBACK, PUBREC, PUBREL, PUBCOMP. Reason and properties are left out when None."""
    body = u16(packet_id)
    if reason is not None:
        body += u8(reason)
        if properties is not None:
            body += props(properties)
    return packet(kind, 2 if kind == PUBREL else 0, body)


def puback(packet_id, reason=None, properties=None):
    return ack(PUBACK, packet_id, reason, properties)


def pubrec(packet_id, reason=None, properties=None):
    return ack(PUBREC, packet_id, reason, properties)


def pubrel(packet_id, reason=None, properties=None):
    return ack(PUBREL, packet_id, reason, properties)


def pubcomp(packet_id, reason=None, properties=None):
    return ack(PUBCOMP, packet_id, reason, properties)


def options(qos=0, no_local=False, retain_as_published=False, retain_handling=0):
    """Subscription Options byte."""
    return qos | no_local << 2 | retain_as_published << 3 | retain_handling << 4


def subscribe(packet_id, filters, version=V5, properties=None):
    """filters: a filter, or a list of filters and (filter, options byte)."""
    if isinstance(filters, (str, bytes)):
        filters = [filters]
    body = u16(packet_id) + _v5(version, properties)
    for item in filters:
        topic, opts = item if isinstance(item, tuple) else (item, 0)
        body += utf8(topic) + u8(opts)
    return packet(SUBSCRIBE, 2, body)


def unsubscribe(packet_id, filters, version=V5, properties=None):
    if isinstance(filters, (str, bytes)):
        filters = [filters]
    body = u16(packet_id) + _v5(version, properties) + b"".join(utf8(f) for f in filters)
    return packet(UNSUBSCRIBE, 2, body)


def pingreq():
    return packet(PINGREQ, 0)


def disconnect(reason=None, properties=None):
    """Without reason the two bytes that every version has."""
    body = b"" if reason is None else u8(reason)
    if reason is not None and properties is not None:
        body += props(properties)
    return packet(DISCONNECT, 0, body)


def auth(reason=None, properties=None):
    body = b"" if reason is None else u8(reason) + props(properties)
    return packet(AUTH, 0, body)


# -- reading ------------------------------------------------------------------------------------


class Reader:
    """A cursor over the body of one packet."""

    def __init__(self, data):
        self.data = data
        self.pos = 0

    def left(self):
        return len(self.data) - self.pos

    def take(self, count):
        if count > self.left():
            raise Malformed(f"field of {count} bytes, {self.left()} left in the packet")
        self.pos += count
        return self.data[self.pos - count:self.pos]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def varint(self):
        value = 0
        for index in range(4):
            byte = self.u8()
            value |= (byte & 0x7F) << 7 * index
            if not byte & 0x80:
                if index and byte == 0:
                    raise Malformed("Variable Byte Integer longer than needed")
                return value
        raise Malformed("Variable Byte Integer of more than four bytes")

    def binary(self):
        return self.take(self.u16())

    def utf8(self):
        try:
            text = self.binary().decode("utf-8")
        except UnicodeDecodeError as err:
            raise Malformed(f"ill-formed UTF-8: {err}") from None
        if "\0" in text:
            raise Malformed("U+0000 in a string")
        return text

    def pair(self):
        return (self.utf8(), self.utf8())

    byte = u8

    def properties(self, kind):
        """dict name -> value; user_property and subscription_identifier are lists."""
        end = self.varint() + self.pos
        if end > len(self.data):
            raise Malformed("Property Length goes beyond the packet")
        out = {}
        while self.pos < end:
            ident = self.varint()
            if ident not in PROPERTIES:
                raise Malformed(f"unknown property 0x{ident:02x}")
            name, form, where, many = PROPERTIES[ident]
            if kind not in where:
                raise Malformed(f"{name} in {TYPE_NAMES[kind]}")
            value = getattr(self, form)()
            if name in BOOLEAN and value > 1:
                raise Malformed(f"{name} is {value}")
            if many:
                out.setdefault(name, []).append(value)
            elif name in out:
                raise Malformed(f"{name} twice")
            else:
                out[name] = value
        if self.pos != end:
            raise Malformed("last property goes beyond the Property Length")
        return out


class Packet:
    """One packet from the broker. Fields depend on the type; `raw` has its bytes."""

    def __init__(self, kind, flags, raw, version):
        self.type = kind
        self.flags = flags
        self.raw = raw
        self.version = version
        self.properties = {}

    def __repr__(self):
        hidden = ("type", "raw", "version", "flags")
        fields = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if k not in hidden)
        return f"{TYPE_NAMES[self.type]}({fields})"

    @classmethod
    def parse(cls, raw, version):
        kind, flags = raw[0] >> 4, raw[0] & 15
        head = Reader(raw[1:])
        length = head.varint()
        body = Reader(head.take(length))
        self = cls(kind, flags, bytes(raw), version)
        parser = _PARSERS.get(kind)
        if parser is None:
            raise Malformed(f"a server may not send {TYPE_NAMES[kind]}")
        if kind != PUBLISH and flags != (2 if kind == PUBREL else 0):
            raise Malformed(f"flags {flags} in {TYPE_NAMES[kind]}")
        parser(self, body)
        if body.left():
            raise Malformed(f"{body.left()} bytes too many in {TYPE_NAMES[kind]}")
        return self

    def _connack(self, body):
        flags = body.u8()
        if flags & 0xFE or (self.version == V31 and flags):
            raise Malformed(f"Connect Acknowledge Flags 0x{flags:02x}")
        self.session_present = bool(flags)
        self.reason = body.u8()
        if self.version == V5:
            # A refusal of an unknown version may be in the older, property-less form.
            if self.reason and not body.left() and self.reason < 0x80:
                return
            self.properties = body.properties(CONNACK)
            self._check_reason()

    def _publish(self, body):
        self.dup, self.qos, self.retain = bool(self.flags & 8), self.flags >> 1 & 3, \
            bool(self.flags & 1)
        if self.qos == 3:
            raise Malformed("PUBLISH at QoS 3")
        if self.qos == 0 and self.dup:
            raise Malformed("PUBLISH with DUP at QoS 0")
        self.topic = body.utf8()
        if "#" in self.topic or "+" in self.topic:
            raise Malformed("wildcard in a Topic Name")
        self.packet_id = body.u16() if self.qos else None
        if self.packet_id == 0:
            raise Malformed("Packet Identifier 0")
        if self.version == V5:
            self.properties = body.properties(PUBLISH)
        self.wire_topic = self.topic
        if not self.topic and "topic_alias" not in self.properties:
            raise Malformed("empty Topic Name without Topic Alias")
        self.payload = bytes(body.take(body.left()))

    def _ack(self, body):
        self.packet_id = body.u16()
        self.reason = 0
        if self.version == V5 and body.left():
            self.reason = body.u8()
            if body.left():
                self.properties = body.properties(self.type)
            self._check_reason()

    def _suback(self, body):
        self.packet_id = body.u16()
        if self.version == V5:
            self.properties = body.properties(self.type)
        self.reasons = list(body.take(body.left()))
        if self.version != V5 and self.type == UNSUBACK and self.reasons:
            raise Malformed("payload in UNSUBACK")
        allowed = REASON_CODES[self.type] if self.version == V5 else {0, 1, 2, 0x80}
        if not set(self.reasons) <= allowed:
            raise Malformed(f"reason codes {self.reasons} in {TYPE_NAMES[self.type]}")

    def _empty(self, body):
        pass

    def _disconnect(self, body):
        if self.version != V5:
            raise Malformed("a server sends no DISCONNECT before version 5")
        self.reason = body.u8() if body.left() else 0
        if body.left():
            self.properties = body.properties(DISCONNECT)
        if "session_expiry_interval" in self.properties:
            raise Malformed("Session Expiry Interval in a server's DISCONNECT")
        self._check_reason()

    def _auth(self, body):
        if self.version != V5:
            raise Malformed("AUTH before version 5")
        self.reason = body.u8() if body.left() else 0
        if body.left():
            self.properties = body.properties(AUTH)
        self._check_reason()

    def _check_reason(self):
        if self.reason not in REASON_CODES[self.type]:
            raise Malformed(f"reason code 0x{self.reason:02x} in {TYPE_NAMES[self.type]}")


_PARSERS = {CONNACK: Packet._connack, PUBLISH: Packet._publish, PUBACK: Packet._ack,
            PUBREC: Packet._ack, PUBREL: Packet._ack, PUBCOMP: Packet._ack,
            SUBACK: Packet._suback, UNSUBACK: Packet._suback, PINGRESP: Packet._empty,
            DISCONNECT: Packet._disconnect, AUTH: Packet._auth}
