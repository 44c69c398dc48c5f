# SPDX-License-Identifier: Apache-2.0
"""Chapter 2: flags, Packet Identifiers, and packets that a client may not send."""
from harness import transport
from harness.mqtt_raw import (AUTH, CONNACK, CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBCOMP,
                              PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, TYPE_NAMES, UNSUBACK,
                              UNSUBSCRIBE, V5, connect, packet, publish, pubrec, subscribe, u16,
                              u8, unsubscribe, utf8)
from harness.runner import case
from helpers import BAD, MALFORMED, PROTOCOL_ERROR, bad_connect, bad_packet

# type: body, flags that are right, statements of 5 and of 3.1.1
FLAG_ROWS = [
    (PUBACK, u16(1), 0, "", ""),
    (PUBREC, u16(1), 0, "", ""),
    (PUBREL, u16(1), 2, "3.6.1-1", "3.6.1-1"),
    (PUBCOMP, u16(1), 0, "", ""),
    (SUBSCRIBE, None, 2, "3.8.1-1", "3.8.1-1"),
    (UNSUBSCRIBE, None, 2, "3.10.1-1", "3.10.1-1"),
    (PINGREQ, b"", 0, "", ""),
    (DISCONNECT, b"", 0, "3.14.1-1", "3.14.1-1"),
]


def _flags_case(kind, body, right, v5, v311):
    @case(f"Other reserved flags in {TYPE_NAMES[kind]} end the connection",
          v5="2.1.3-1 4.13.1-1 " + v5, v311="2.2.2-1 2.2.2-2 " + v311)
    def _case(t):
        data = body
        if kind == SUBSCRIBE:
            data = subscribe(1, "a", t.version)[2:]
        elif kind == UNSUBSCRIBE:
            data = unsubscribe(1, "a", t.version)[2:]
        for flags in {0, 1, 2, 3, 4, 8, 15} - {right}:
            client = t.open(f"f{flags}")
            client.send(packet(kind, flags, data))
            client.expect_closed(reason=MALFORMED)
        bad_packet(t, packet(kind, right ^ 1, data), MALFORMED)


for _row in FLAG_ROWS:
    _flags_case(*_row)


@case("Other reserved flags in CONNECT end the connection", v5="2.1.3-1", v311="2.2.2-1 2.2.2-2")
def connect_flags(t):
    good = connect(t.client_id(), version=t.version)
    for flags in (1, 2, 4, 8, 15):
        bad_connect(t, bytes([good[0] | flags]) + good[1:], MALFORMED, silent=True)


@case("Reserved flags in AUTH end the connection", v5="3.15.1-1 2.1.3-1")
def auth_flags(t):
    bad_packet(t, packet(AUTH, 1, b"\x18\0"), BAD)


@case("PUBLISH with QoS bits 3 ends the connection", v5="3.3.1-4", v311="3.3.1-4", v31="")
def qos_three(t):
    bad_packet(t, publish(t.topic(), b"x", 3, 1, version=t.version), MALFORMED)


@case("PUBLISH with DUP at QoS 0 ends the connection", v5="3.3.1-2", v311="3.3.1-2")
def dup_at_qos0(t):
    bad_packet(t, publish(t.topic(), b"x", 0, dup=True, version=t.version), BAD)


@case("Packet types that only a server sends end the connection", v5="4.13.1-1", v311="4.8.0-1",
      v31="")
def server_packets(t):
    for kind, body in ((CONNACK, b"\0\0"), (SUBACK, u16(1) + b"\0"), (UNSUBACK, u16(1)),
                       (13, b"")):
        bad_packet(t, packet(kind, 0, body), BAD)


@case("Packet type 0 ends the connection", v5="4.13.1-1", v311="4.8.0-1", v31="")
def type_zero(t):
    bad_packet(t, packet(0, 0, b""), BAD)


@case("Packet type 15 ends a connection before version 5", v311="4.8.0-1", v31="")
def type_fifteen(t):
    bad_packet(t, packet(15, 0, b""))


@case("PUBLISH above QoS 0 with Packet Identifier 0 ends the connection", v5="2.2.1-3",
      v311="2.3.1-1")
def publish_id_zero(t):
    for qos in (1, 2):
        bad_packet(t, publish(t.topic(), b"x", qos, 0, version=t.version), BAD)


@case("SUBSCRIBE with Packet Identifier 0 ends the connection", v5="2.2.1-3", v311="2.3.1-1")
def subscribe_id_zero(t):
    bad_packet(t, subscribe(0, t.topic(), t.version), BAD)


@case("UNSUBSCRIBE with Packet Identifier 0 ends the connection", v5="2.2.1-3", v311="2.3.1-1")
def unsubscribe_id_zero(t):
    bad_packet(t, unsubscribe(0, t.topic(), t.version), BAD)


@case("At QoS 0 the bytes after the Topic Name are no Packet Identifier", v5="2.2.1-2",
      v311="2.3.1-5", v31="")
def no_id_at_qos0(t):
    topic = t.topic()
    client = t.open()
    client.subscribe(topic)
    body = utf8(topic) + (b"\0" if t.version == V5 else b"") + b"\x12\x34rest"
    client.send(packet(PUBLISH, 0, body))
    client.expect(packet(PUBLISH, 0, body))


@case("Packets that are too short for their fields end the connection", v5="4.13.1-1",
      v311="4.8.0-1")
def short_packets(t):
    for kind, flags in ((PUBACK, 0), (PUBREC, 0), (PUBREL, 2), (PUBCOMP, 0), (SUBSCRIBE, 2),
                        (UNSUBSCRIBE, 2)):
        for body in (b"", b"\0"):
            client = t.open("short")
            client.send(packet(kind, flags, body))
            client.expect_closed(reason=BAD)
    bad_packet(t, packet(PUBLISH, 0, b""), MALFORMED)
    bad_packet(t, packet(PUBLISH, 2, utf8("a") + b"\0"), MALFORMED)


@case("Packets with bytes left over end the connection", v5="4.13.1-1", v311="4.8.0-1")
def long_packets(t):
    bad_packet(t, packet(PINGREQ, 0, b"x"), MALFORMED)
    if t.version == V5:
        bad_packet(t, packet(PUBACK, 0, u16(1) + b"\0\0more"), MALFORMED)
        bad_packet(t, packet(DISCONNECT, 0, b"\0\0more"), MALFORMED)
    else:
        bad_packet(t, packet(PUBACK, 0, u16(1) + b"more"))
        bad_packet(t, packet(DISCONNECT, 0, b"more"))


@case("A PUBREC for an unknown Packet Identifier is answered with 0x92", v5="2.2.1-5 3.6.2-1")
def unknown_pubrec(t):
    client = t.open()
    client.send(pubrec(77))
    client.expect(PUBREL, packet_id=77, reason=0x92)


@case("A first packet other than CONNECT ends the connection without an answer",
      v5="3.1.0-1 3.14.0-1 3.2.0-1", v311="3.1.0-1", v31="")
def first_packet(t):
    for data in (packet(PINGREQ, 0), publish("a", b"x", version=t.version),
                 subscribe(1, "a", t.version), packet(DISCONNECT, 0), packet(AUTH, 0),
                 packet(CONNACK, 0, b"\0\0"), packet(0, 0, u8(0)), b"GET / HTTP/1.1\r\n\r\n"):
        if data.startswith(b"GET") and transport.name() == "any":
            continue    # it is answered there
        for trickle in (False, True):
            client = t.raw()
            client.send(data, trickle)
            client.expect_closed()


@case("A second CONNECT ends the connection",
      v5="3.1.0-2 4.13.1-1 4.13.2-1 3.14.2-1 3.14.2-2 3.14.4-2", v311="3.1.0-2 4.8.0-1", v31="")
def second_connect(t):
    bad_packet(t, connect(t.client_id("other-id"), version=t.version), PROTOCOL_ERROR)


@case("A Remaining Length of CONNECT of five bytes ends the connection", v5="1.5.5-1", v311="",
      v31="")
def connect_long_length(t):
    bad_connect(t, bytes([CONNECT << 4]) + b"\x80\x80\x80\x80\x01", MALFORMED, silent=True)
