# SPDX-License-Identifier: Apache-2.0
"""Chapter 1: strings, string pairs and Variable Byte Integers."""
from harness.mqtt_raw import (PUBACK, binary, connect, packet, prop, props, publish, subscribe, u8,
                              u16, unsubscribe, utf8, varint, PUBLISH, SUBSCRIBE, V5)
from harness.runner import case
from helpers import MALFORMED, bad_connect, bad_packet

ILL_FORMED = {
    "a stray continuation byte": b"a\x80b",
    "a sequence cut short": b"a\xc3",
    "an overlong slash": b"a\xc0\xafb",
    "an overlong three-byte form": b"\xe0\x80\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xa0\x81\xed\xb0\x80",
    "an overlong four-byte form": b"\xf0\x80\x80\xaf",
    "a code point above U+10FFFF": b"\xf4\x90\x80\x80",
    "a byte that UTF-8 never has": b"\xff",
}


def _bad_topic_name_case(what, data):
    @case(f"A Topic Name with {what} ends the connection", v5="1.5.4-1 3.3.2-1",
          v311="1.5.3-1 3.3.2-1", v31="")
    def _case(t):
        bad_packet(t, publish(data, b"x", version=t.version), MALFORMED)


for _what, _data in ILL_FORMED.items():
    _bad_topic_name_case(_what, _data)


@case("A Topic Filter with ill-formed UTF-8 ends the connection", v5="1.5.4-1 3.8.3-1",
      v311="1.5.3-1 3.8.3-1")
def bad_utf8_filter(t):
    bad_packet(t, subscribe(1, b"a\xed\xa0\x80", t.version), MALFORMED)


@case("A Topic Filter with ill-formed UTF-8 in UNSUBSCRIBE ends the connection",
      v5="1.5.4-1 3.10.3-1", v311="1.5.3-1 3.10.3-1")
def bad_utf8_unsubscribe(t):
    bad_packet(t, unsubscribe(1, b"a\xff", t.version), MALFORMED)


@case("U+0000 in a Topic Name ends the connection", v5="1.5.4-2 4.7.3-2", v311="1.5.3-2 4.7.3-2")
def null_in_topic(t):
    bad_packet(t, publish(b"a\0b", version=t.version), MALFORMED)


@case("U+0000 in a Topic Filter ends the connection", v5="1.5.4-2 4.7.3-2",
      v311="1.5.3-2 4.7.3-2")
def null_in_filter(t):
    bad_packet(t, subscribe(1, b"a\0b", t.version), MALFORMED)


@case("A Client Identifier with ill-formed UTF-8 is refused", v5="1.5.4-1 3.1.3-4",
      v311="1.5.3-1 3.1.3-4")
def bad_client_id(t):
    for data in (b"\xc3", b"a\xed\xa0\x80"):
        bad_connect(t, connect(data, version=t.version), {MALFORMED, 0x85})


@case("A Client Identifier with U+0000 is refused", v5="1.5.4-2 3.1.3-4", v311="1.5.3-2 3.1.3-4")
def null_client_id(t):
    bad_connect(t, connect(b"a\0b", version=t.version), {MALFORMED, 0x85})


@case("A User Name with ill-formed UTF-8 is refused", v5="1.5.4-1 3.1.3-12",
      v311="1.5.3-1 3.1.3-11")
def bad_user_name(t):
    bad_connect(t, connect(t.client_id(), version=t.version, username=b"\xff", password=b"x"),
                MALFORMED)


@case("A Will Topic with ill-formed UTF-8 is refused", v5="1.5.4-1 3.1.3-11",
      v311="1.5.3-1 3.1.3-10")
def bad_will_topic(t):
    bad_connect(t, connect(t.client_id(), version=t.version, will={"topic": b"a\xe2\x28\xa1"}),
                MALFORMED)


@case("A password may be any bytes", v5="", v311="", v31="")
def binary_password(t):
    client = t.raw()
    client.open(username="someone", password=b"\x00\xff\xfe")
    client.expect_alive()


@case("A zero width no-break space is part of the topic", v5="1.5.4-3", v311="1.5.3-3")
def bom_is_kept(t):
    with_mark, without = t.topic("\ufeffx"), t.topic("x")
    client = t.open()
    client.subscribe(with_mark)
    client.publish(without, b"not this")
    client.publish(with_mark, b"this")
    client.receive(with_mark, b"this")
    client.leave()


@case("Text of one to four bytes a character goes through unaltered", v5="1.5.4-1",
      v311="1.5.3-1", v31="")
def all_widths(t):
    topic = t.topic("a\u00e9\u20ac\U0001f426\ue000\ufffd\U0010ffff")
    client = t.open()
    client.subscribe(topic)
    client.publish(topic, b"x")
    client.receive(topic, b"x")


@case("A User Property with an ill-formed name or value ends the connection", v5="1.5.7-1")
def bad_pair(t):
    for name, value in ((b"\xff", b"v"), (b"n", b"\xed\xa0\x80"), (b"n", b"\0")):
        bad_packet(t, publish(t.topic(), properties=[("user_property", (name, value))]), MALFORMED)


@case("A User Property without its value ends the connection", v5="1.5.7-1")
def half_pair(t):
    bad_packet(t, publish(t.topic(), properties=b"\x26" + utf8("name")), MALFORMED)


@case("A Content Type with ill-formed UTF-8 ends the connection", v5="3.3.2-19 1.5.4-1")
def bad_content_type(t):
    bad_packet(t, publish(t.topic(), properties={"content_type": b"\xc0\x80"}), MALFORMED)


@case("A Response Topic with ill-formed UTF-8 ends the connection", v5="3.3.2-13 1.5.4-1")
def bad_response_topic(t):
    bad_packet(t, publish(t.topic(), properties={"response_topic": b"\xc0\x80"}), MALFORMED)


@case("A Remaining Length of five bytes ends the connection", v5="1.5.5-1", v311="4.8.0-1",
      v31="")
def long_remaining_length(t):
    bad_packet(t, b"\x30\x80\x80\x80\x80\x01", MALFORMED)


@case("A Remaining Length longer than needed ends the connection", v5="1.5.5-1")
def padded_remaining_length(t):
    bad_packet(t, b"\xc0\x80\x00", MALFORMED)


@case("A Property Length longer than needed ends the connection", v5="1.5.5-1")
def padded_property_length(t):
    bad_packet(t, packet(PUBLISH, 0, utf8("a") + b"\x80\x00" + b"x"), MALFORMED)


@case("A Subscription Identifier longer than needed or of five bytes ends the connection",
      v5="1.5.5-1")
def padded_identifier(t):
    for value in (b"\x81\x00", b"\x80\x80\x80\x80\x01"):
        body = u16(1) + props(u8(0x0b) + value) + utf8("a") + u8(0)
        bad_packet(t, packet(SUBSCRIBE, 2, body), MALFORMED)


@case("Remaining Lengths of one to three bytes are read, whole and byte by byte", v5="1.5.5-1",
      v311="", v31="")
def lengths(t):
    topic = t.topic()
    client = t.open()
    client.subscribe((topic, 1))
    overhead = len(publish(topic, b"", 1, 1, version=t.version)) - 2
    sizes = [edge - overhead + delta for edge in (128, 16384) for delta in (-1, 0)]
    for count, size in enumerate(sizes + [200000], 1):
        data = publish(topic, b"z" * size, 1, count, version=t.version)
        client.send(data, trickle=size < 1000)
        seen = {client.recv().type, client.recv().type}
        assert seen == {PUBLISH, PUBACK}, seen
        client.send(b"\x40\x02" + u16(count))


@case("A property cut short by the Property Length ends the connection", v5="2.2.2-1")
def cut_property(t):
    whole = prop("message_expiry_interval", 7)
    bad_packet(t, packet(PUBLISH, 0, utf8("a") + varint(3) + whole + b"x"), MALFORMED)


@case("A Property Length beyond the packet ends the connection", v5="2.2.2-1")
def property_length_too_large(t):
    bad_packet(t, packet(PUBLISH, 0, utf8("a") + varint(100) + b"x"), MALFORMED)


@case("A packet of version 5 without a Property Length ends the connection", v5="2.2.2-1")
def no_property_length(t):
    bad_packet(t, packet(PUBLISH, 0, utf8("a")), MALFORMED)
    bad_packet(t, packet(SUBSCRIBE, 2, u16(1)), MALFORMED)


@case("A string that goes beyond its packet ends the connection", v5="4.13.1-1", v311="4.8.0-1",
      v31="")
def string_beyond_packet(t):
    bad_packet(t, packet(PUBLISH, 0, u16(50) + b"short"), MALFORMED)
    tail = b"\0" if t.version == V5 else b""
    bad_packet(t, packet(SUBSCRIBE, 2, u16(1) + tail + binary(b"ok") + b"\0" + u16(9) + b"x"),
               MALFORMED)
