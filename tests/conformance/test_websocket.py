# SPDX-License-Identifier: Apache-2.0
"""MQTT over WebSocket: section 6 of MQTT, and RFC 6455 as raw bytes.

What libwebsockets 4.1 does otherwise than RFC 6455 wants is a case of its own, whose sentence begins
with "Known limit": it shows what happens, and that nothing worse does
(docs/decisions/0021-libwebsockets-as-it-is.md).
"""
import random
import struct

from harness import DEADLINE_S, websocket
from harness.broker import wait_until
from harness.mqtt_raw import (CONNACK, PINGRESP, PUBLISH, SUBACK, Client, Mismatch, connect,
                              pingreq, publish, subscribe)
from harness.runner import case
from harness.websocket import (BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, HandshakeError, Stream,
                               WebSocket, frame, handshake_text, request)

CONF = "listener {port} 127.0.0.1\nprotocol websockets\n"
QUICK = CONF + "connect_timeout 3\n"


def opened(t, name="c", **handshake):
    """A WebSocket whose MQTT connection is open."""
    web = WebSocket(t.broker.port, **handshake)
    web.send(frame(BINARY, connect(t.client_id(name), version=t.version)))
    opcode, payload, fin = web.recv_frame()
    if opcode != BINARY or not fin or payload[0] >> 4 != CONNACK:
        raise Mismatch(f"expected CONNACK in a binary frame, got {opcode} {payload.hex(' ')}")
    return web


def client(t, name="c", web=None, **connect_args):
    """The usual client of the cases, over a WebSocket."""
    stream = Stream(web or WebSocket(t.broker.port))
    made = Client(t.broker.port, t.version, client_id=t.client_id(name), name=name, sock=stream)
    t.connections.append(made)
    made.open(**connect_args)
    return made


def expect_close(web, codes, deadline_s=DEADLINE_S):
    """The next frame that is no data is a Close with one of these codes; None stands for an end
    without a Close frame."""
    codes = codes if isinstance(codes, (set, frozenset, tuple)) else {codes}
    while True:
        got = web.recv_frame(deadline_s)
        if got is None:
            found = None
            break
        opcode, payload, _ = got
        if opcode == CLOSE:
            found = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
            break
    if found not in codes:
        raise Mismatch(f"expected the end with {codes}, got {found}")
    web.sock.close()


def memory_used(t):
    """What the broker accounts for, in bytes: the same in every build."""
    page = request(t.broker.port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").body.decode()
    return sum(int(line.split()[-1]) for line in page.splitlines()
               if line.startswith("nightjar_memory_bytes"))


def expect_alive(web):
    web.send(frame(BINARY, pingreq()))
    got = web.recv_frame()
    if got is None or got[1] != bytes([PINGRESP << 4, 0]):
        raise Mismatch(f"expected PINGRESP, got {got}")


# -- the handshake ----------------------------------------------------------------------------------

REFUSALS = [
    ("a version that is not 13", {"Sec_WebSocket_Version": "8"}, 426),
    ("no version", {"Sec_WebSocket_Version": None}, 426),
    ("a version that is no number", {"Sec_WebSocket_Version": "13x"}, 426),
    ("a short key", {"key": "c2hvcnQ="}, 400),
    ("a key that is not base64", {"key": "!" * 22 + "=="}, 400),
    ("no key", {"Sec_WebSocket_Key": None}, 400),
    ("a key that is too long", {"key": "A" * 42 + "=="}, 400),
    ("POST", {"method": "POST"}, 405),
    ("HTTP/1.0", {"version": "HTTP/1.0"}, 400),
    ("no Host", {"Host": None}, 400),
    ("no Connection", {"Connection": None}, 400),
    ("a Connection that says nothing of it", {"Connection": "keep-alive"}, 400),
    ("another Upgrade", {"Upgrade": "h2c"}, 400),
    ("no subprotocol", {"Sec_WebSocket_Protocol": None}, 400),
    ("a foreign subprotocol", {"Sec_WebSocket_Protocol": "chat"}, 400),
    ("a subprotocol that only looks like it", {"Sec_WebSocket_Protocol": "mqttx, xmqtt"}, 400),
    ("a list of subprotocols without end", {"Sec_WebSocket_Protocol": "a, " * 100 + "mqtt"}, 400),
]


@case("A handshake that is wrong is refused with the right status", conf=CONF)
def refusals(t):
    wrong = []
    for what, handshake, status in REFUSALS:
        answer = request(t.broker.port, handshake_text(**handshake))
        if answer.status != status:
            wrong.append(f"{what}: {answer.status}, expected {status}")
        elif status == 426 and answer.headers.get("sec-websocket-version") != "13":
            wrong.append(f"{what}: 426 without Sec-WebSocket-Version")
        elif status == 405 and "GET" not in answer.headers.get("allow", ""):
            wrong.append(f"{what}: 405 without Allow")
        elif "sec-websocket-accept" in answer.headers:
            wrong.append(f"{what}: an Accept in a refusal")
    if wrong:
        raise Mismatch("; ".join(wrong))
    opened(t)


@case("An Upgrade to something unknown is no WebSocket", conf=CONF)
def unknown_upgrade(t):
    answer = request(t.broker.port, handshake_text(Upgrade="carrier-pigeon"))
    assert answer.status in (400, 403), answer.status


@case("What is no HTTP ends the connection", conf=QUICK)
def no_http(t):
    for text in ("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", "GARBAGE\r\n\r\n", "\r\n" * 40,
                 "GET\r\n\r\n", "CONNECT example.org:80 HTTP/1.1\r\n\r\n", "\x00" * 100,
                 "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        answer = request(t.broker.port, text)
        assert answer.status in (None, 400, 403, 404, 405), (text, answer.raw)
    opened(t)


@case("A handshake is read however its headers are written and cut", conf=CONF)
def handshake_forms(t):
    for fields in ({"Connection": "keep-alive, Upgrade"}, {"Connection": "upgrade"},
                   {"Connection": "Upgrade , keep-alive"}, {"Upgrade": "WebSocket"},
                   {"Host": "[::1]:9001"}, {"Origin": "https://example.org"},
                   {"Cookie": "a=" + "x" * 3000}, {"X-Unknown-Header": "1"},
                   {"path": "/"}, {"path": "/any/path?and=query"}, {"path": "/mqtt/"}):
        opened(t, **fields).sock.close()


@case("A handshake one byte at a time is accepted", conf=CONF)
def handshake_trickled(t):
    with websocket.socket.create_connection(("127.0.0.1", t.broker.port)) as sock:
        sock.setsockopt(websocket.socket.IPPROTO_TCP, websocket.socket.TCP_NODELAY, 1)
        for byte in handshake_text().encode():
            sock.sendall(bytes([byte]))
        answer, _ = websocket.read_response(sock)
        assert answer.status == 101, answer.raw


@case("The first subprotocol of the client's list that we speak is chosen", v5="6.0.0-4", v311="6.0.0-4",
      conf=CONF)
def subprotocols(t):
    for asked, chosen in (("mqtt", "mqtt"), ("mqttv3.1", "mqttv3.1"), ("mqttv3.1, mqtt", "mqttv3.1"),
                          ("chat, mqtt", "mqtt"), ("mqtt,mqttv3.1", "mqtt")):
        web = WebSocket(t.broker.port, Sec_WebSocket_Protocol=asked)
        got = web.response.headers.get("sec-websocket-protocol")
        assert got == chosen, (asked, got)
        web.sock.close()
    for asked in ("chat", None):
        try:
            WebSocket(t.broker.port, Sec_WebSocket_Protocol=asked)
        except HandshakeError:
            continue
        raise Mismatch(f"subprotocol {asked} was accepted")


@case("No extension is agreed on", conf=CONF)
def extensions(t):
    offer = "permessage-deflate; client_max_window_bits"
    web = opened(t, Sec_WebSocket_Extensions=offer)
    assert "sec-websocket-extensions" not in web.response.headers, web.response.raw
    web.send(frame(BINARY, pingreq(), rsv=4))
    expect_close(web, 1002)


@case("Frames that come with the handshake are read", conf=CONF)
def together_with_handshake(t):
    with websocket.socket.create_connection(("127.0.0.1", t.broker.port)) as sock:
        sock.sendall(handshake_text().encode()
                     + frame(BINARY, connect(t.client_id(), version=t.version))
                     + frame(BINARY, pingreq()))
        sock.settimeout(DEADLINE_S)
        data = b""
        while data.count(b"\r\n\r\n") == 0 or not data.endswith(bytes([PINGRESP << 4, 0])):
            more = sock.recv(65536)
            assert more, data
            data += more
        assert data.startswith(b"HTTP/1.1 101 "), data


@case("Headers that are too long are refused", conf=CONF)
def long_headers(t):
    answer = request(t.broker.port, handshake_text(Cookie="x" * 20000))
    assert answer.status in (None, 400, 413, 414, 431), answer.status
    answer = request(t.broker.port, handshake_text(path="/" + "x" * 20000))
    assert answer.status in (None, 400, 413, 414, 431), answer.status
    opened(t)


@case("Who never ends the headers, or sends no CONNECT, is closed after connect_timeout", conf=QUICK)
def never_ready(t):
    silent = websocket.socket.create_connection(("127.0.0.1", t.broker.port))
    half = websocket.socket.create_connection(("127.0.0.1", t.broker.port))
    half.sendall(b"GET /mqtt HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    late = WebSocket(t.broker.port)
    expect_close(late, {1008, 1000})
    for sock in (silent, half):
        sock.settimeout(DEADLINE_S)
        assert sock.recv(10) == b""
        sock.close()


@case("A header that dribbles does not put connect_timeout off", conf=QUICK)
def dribble(t):
    sock = websocket.socket.create_connection(("127.0.0.1", t.broker.port))
    sock.sendall(b"GET /mqtt HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    begin = websocket.time.monotonic()
    while websocket.time.monotonic() - begin < 30:
        try:
            sock.sendall(b"x")
        except OSError:
            break
        if websocket.readable(sock, 0.05):
            break
    assert websocket.time.monotonic() - begin < 30
    sock.close()


@case("Only pages of websockets_origin may open a WebSocket", conf=CONF
      + "websockets_origin https://example.org\nwebsockets_origin http://localhost:8080\n")
def origins(t):
    opened(t, "a", Origin="https://example.org").sock.close()
    opened(t, "b", Origin="HTTP://localhost:8080").sock.close()
    for origin in ("https://example.org.evil", "null", None, "https://example.org:444"):
        answer = request(t.broker.port, handshake_text(Origin=origin))
        assert answer.status == 403, (origin, answer.status)


# -- MQTT in frames ---------------------------------------------------------------------------------

def stream_of(t, name, count):
    """The packets of a client, and what it gets back."""
    topic = t.topic(name)
    data = connect(t.client_id(name), version=t.version) + subscribe(1, topic, t.version)
    for number in range(count):
        data += publish(topic, b"%d" % number * (number * 9), version=t.version) + pingreq()
    return data


def expect_stream(made, count):
    made.expect(CONNACK, reason=0)
    made.expect(SUBACK, packet_id=1)
    got, pings = [], 0
    while len(got) < count or pings < count:
        pkt = made.recv()
        if pkt.type == PUBLISH:
            got.append(pkt.payload)
        else:
            pings += 1
    assert got == [b"%d" % n * (n * 9) for n in range(count)]


def cut_in_frames(data, rng, web):
    """Frames, fragments, empty ones, and control frames in between, in every mixture."""
    at = 0
    inside = False
    while at < len(data) or inside:
        size = rng.choice((0, 1, 2, 3, 7, 20, 100, 1000, 5000))
        fin = at + size >= len(data) or rng.random() < 0.5
        web.send(frame(CONTINUATION if inside else BINARY, data[at:at + size], fin=fin))
        at += size
        inside = not fin
        if rng.random() < 0.2:
            web.send(frame(PING, b"between"))


@case("Packets are read however frames cut and join them", v5="6.0.0-2", v311="6.0.0-2", conf=CONF)
def cut_and_joined(t):
    for seed in range(4):
        web = WebSocket(t.broker.port)
        made = Client(t.broker.port, t.version, client_id=t.client_id(str(seed)), sock=Stream(web))
        t.connections.append(made)
        cut_in_frames(stream_of(t, str(seed), 60), random.Random(seed), web)
        expect_stream(made, 60)


@case("One byte at a time, and one byte in each frame", v5="6.0.0-2", v311="6.0.0-2", conf=CONF)
def bytewise(t):
    for way in ("byte", "frame"):
        web = WebSocket(t.broker.port)
        made = Client(t.broker.port, t.version, client_id=t.client_id(way), sock=Stream(web))
        t.connections.append(made)
        data = stream_of(t, way, 6)
        if way == "byte":
            web.send(frame(BINARY, data), trickle=True)
        else:
            web.send(b"".join(frame(BINARY, data[at:at + 1]) for at in range(len(data))))
        expect_stream(made, 6)


@case("What is made in one turn leaves in one frame", conf=CONF)
def one_frame(t):
    web = opened(t)
    web.send(frame(BINARY, pingreq() * 50))
    opcode, payload, fin = web.recv_frame()
    assert (opcode, fin, payload) == (BINARY, True, bytes([PINGRESP << 4, 0]) * 50), payload


@case("Frames of 1 MiB, both ways, and one of many fragments", conf=CONF)
def large_frames(t):
    made = client(t)
    topic = t.topic()
    made.subscribe(topic)
    body = random.Random(1).randbytes(1 << 20)
    made.send(publish(topic, body, version=t.version))
    assert made.expect(PUBLISH).payload == body
    packet = publish(topic, body, version=t.version)
    web = made.sock.web
    web.send(frame(BINARY, packet[:100], fin=False))
    for at in range(100, len(packet), 30000):
        web.send(frame(CONTINUATION, packet[at:at + 30000], fin=at + 30000 >= len(packet)))
    assert made.expect(PUBLISH).payload == body


@case("A packet above max_packet_size ends the connection, however large its frame says it is",
      v5="3.2.2-15", conf=CONF + "max_packet_size 100000\n")
def too_large(t):
    web = opened(t)
    web.send(frame(BINARY, b"\x30\xff\xff\xff\x7f", length=1 << 40))
    expect_close(web, 1009)
    web = opened(t, "again")
    web.send(frame(BINARY, publish(t.topic(), b"x" * 200000, version=t.version)))
    expect_close(web, 1009)


@case("A text frame ends the connection with 1003", v5="6.0.0-1", v311="6.0.0-1", conf=CONF)
def text_frame(t):
    web = opened(t)
    web.send(frame(TEXT, pingreq()))
    expect_close(web, 1003)
    web = WebSocket(t.broker.port)
    web.send(frame(TEXT, connect(t.client_id("t"), version=t.version)))
    expect_close(web, 1003)


@case("Each end of the MQTT connection has its close code", conf=CONF)
def close_codes(t):
    made = client(t)
    made.leave()
    assert made.sock.close_code == 1000, made.sock.close_code
    web = opened(t, "broken")
    web.send(frame(BINARY, b"\xf0\x00"))
    expect_close(web, 1002)
    web = WebSocket(t.broker.port)
    web.send(frame(BINARY, b"GET / HTTP/1.1\r\n\r\n"))
    expect_close(web, 1002)
    first = opened(t, "same")
    opened(t, "same")
    expect_close(first, 1008)


@case("A WebSocket that is closed without DISCONNECT publishes the Will", v5="3.1.2-8", conf=CONF)
def will(t):
    eye = client(t, "eye")
    topic = t.topic("will")
    eye.subscribe(topic)
    for end in ("close frame", "socket"):
        made = client(t, "dying" + end[0], will=dict(topic=topic, payload=end.encode()))
        if end == "close frame":
            made.sock.web.send(frame(CLOSE, struct.pack(">H", 1000)))
        else:
            made.close()
        assert eye.expect(PUBLISH).payload == end.encode()


@case("An idle WebSocket client is reaped by the Keep Alive, also one that sends pings", conf=CONF)
def keep_alive(t):
    web = WebSocket(t.broker.port)
    begin = websocket.time.monotonic()
    web.send(frame(BINARY, connect(t.client_id(), version=t.version, keep_alive=1)))
    web.recv_frame()
    while websocket.time.monotonic() - begin < 30:
        web.send(frame(PING, b""))
        got = web.recv_frame()
        if got is None or got[0] == CLOSE:
            break
        websocket.time.sleep(0.1)
    assert 1.4 < websocket.time.monotonic() - begin < 30


@case("A WebSocket client that does not read is bounded, and others go on",
      conf=CONF + "output_buffer_bytes 65536\nmax_queued_messages 100\n")
def slow_reader(t):
    topic = t.topic()
    web = WebSocket(t.broker.port, rcvbuf=4096)
    web.send(frame(BINARY, connect(t.client_id("slow"), version=t.version)
                   + subscribe(1, topic, t.version)))
    web.recv_frame()
    eye = client(t, "eye")
    eye.subscribe(t.topic("eye"))
    publisher = client(t, "publisher")
    before = memory_used(t)
    body = b"x" * 10000
    for number in range(4000):
        publisher.send(publish(topic, body, version=t.version))
        if number % 500 == 0:
            publisher.send(publish(t.topic("eye"), b"%d" % number, version=t.version))
            assert eye.expect(PUBLISH).payload == b"%d" % number
    # What is still on its way between workers counts as well, and so it is waited for.
    wait_until(lambda: memory_used(t) - before < 8 << 20, what="less than 8 MiB more")
    web.sock.close()


# -- RFC 6455 ---------------------------------------------------------------------------------------

@case("A ping is answered with its bytes, between fragments too", conf=CONF)
def pings(t):
    web = opened(t)
    for body in (b"", b"x", b"p" * 125):
        web.send(frame(PING, body))
        assert web.recv_frame() == (PONG, body, True)
    web.send(frame(BINARY, pingreq()[:1], fin=False))
    web.send(frame(PING, b"inside"))
    assert web.recv_frame() == (PONG, b"inside", True)
    web.send(frame(CONTINUATION, pingreq()[1:]))
    assert web.recv_frame()[1] == bytes([PINGRESP << 4, 0])
    web.send(frame(PING, b"one byte at a time"), trickle=True)
    assert web.recv_frame() == (PONG, b"one byte at a time", True)


@case("A pong that nobody asked for is ignored", conf=CONF)
def pongs(t):
    web = opened(t)
    for body in (b"", b"x" * 125):
        web.send(frame(PONG, body))
    expect_alive(web)


@case("Reserved bits and opcodes end the connection with 1002", conf=CONF)
def reserved(t):
    for rsv in (1, 2, 4, 7):
        web = opened(t, f"r{rsv}")
        web.send(frame(BINARY, pingreq(), rsv=rsv))
        expect_close(web, 1002)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        web = opened(t, f"o{opcode}")
        web.send(frame(opcode, b""))
        expect_close(web, 1002)


@case("Fragments out of order end the connection with 1002", conf=CONF)
def fragments(t):
    web = opened(t, "a")
    web.send(frame(CONTINUATION, pingreq()))
    expect_close(web, 1002)
    web = opened(t, "b")
    web.send(frame(BINARY, b"\xc0", fin=False) + frame(BINARY, b"\x00"))
    expect_close(web, 1002)
    web = opened(t, "c")
    web.send(frame(BINARY, b"\xc0", fin=False) + frame(CONTINUATION, b"\x00")
             + frame(CONTINUATION, pingreq()))
    expect_close(web, 1002)


@case("A control frame in fragments ends the connection with 1002", conf=CONF)
def control_fragments(t):
    for opcode in (PING, PONG, CLOSE):
        web = opened(t, f"f{opcode}")
        web.send(frame(opcode, b"", fin=False))
        expect_close(web, 1002)


@case("A close frame is answered with its code", conf=CONF)
def close_echo(t):
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        web = opened(t, f"c{code}")
        web.send(frame(CLOSE, struct.pack(">H", code) + b"why"))
        expect_close(web, code)
    web = opened(t, "empty")
    web.send(frame(CLOSE))
    expect_close(web, {1005, 1000})


@case("A close frame with an invalid code is answered with 1002", conf=CONF)
def close_invalid(t):
    for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999):
        web = opened(t, f"i{code}")
        web.send(frame(CLOSE, struct.pack(">H", code)))
        expect_close(web, 1002)


@case("Nothing is heard behind a close frame", conf=CONF)
def after_close(t):
    eye = client(t, "eye")
    topic = t.topic()
    eye.subscribe(topic)
    web = opened(t)
    web.send(frame(CLOSE, struct.pack(">H", 1000))
             + frame(BINARY, publish(topic, b"late", version=t.version)))
    expect_close(web, 1000)
    eye.expect_alive()


@case("A length of which the highest bit is set ends the connection", conf=CONF)
def length_sign(t):
    web = opened(t)
    web.send(b"\x82\xff" + b"\x80" + b"\x00" * 7 + b"mask")
    expect_close(web, {None, 1002, 1009})


# -- known limits of libwebsockets ------------------------------------------------------------------

@case("Known limit: frames without a mask are read", conf=CONF)
def limit_unmasked(t):
    web = opened(t)
    web.send(frame(BINARY, pingreq(), masked=False))
    got = web.recv_frame()
    assert got and got[1] == bytes([PINGRESP << 4, 0]), got


@case("Known limit: a control frame above 125 bytes ends the connection without a close code",
      conf=CONF)
def limit_long_control(t):
    for opcode in (PING, PONG, CLOSE):
        web = opened(t, f"l{opcode}")
        web.send(frame(opcode, b"x" * 126))
        expect_close(web, {None, 1002})


@case("Known limit: a length in more bytes than it needs is read", conf=CONF)
def limit_long_length(t):
    web = opened(t)
    body = pingreq()
    web.send(b"\x82\xfe\x00\x02" + b"\x00" * 4 + body)
    got = web.recv_frame()
    assert got is None or got[0] == CLOSE or got[1] == bytes([PINGRESP << 4, 0]), got


@case("Known limit: a close frame of one byte, or with a reason that is no UTF-8, is echoed",
      conf=CONF)
def limit_close_reason(t):
    web = opened(t, "one")
    web.send(frame(CLOSE, b"\x03"))
    expect_close(web, {None, 1002, 1005, 1000})
    web = opened(t, "utf8")
    web.send(frame(CLOSE, struct.pack(">H", 1000) + b"\xff\xfe"))
    expect_close(web, {None, 1000, 1002, 1007})


@case("Known limit: of pings that come at once, not each is answered", conf=CONF)
def limit_many_pings(t):
    web = opened(t)
    web.send(b"".join(frame(PING, b"%d" % n) for n in range(50)))
    opcode, body, _ = web.recv_frame()
    assert opcode == PONG and body == b"0", (opcode, body)
    web.send(frame(BINARY, pingreq()))
    wait_until(lambda: web.recv_frame()[0] == BINARY, what="PINGRESP behind the pongs")
