# SPDX-License-Identifier: Apache-2.0
"""One port for everything: first bytes, the PROXY protocol, and connections that never say enough."""
import re
import socket
import ssl
import struct
import time

from cases_tls import _client_hello, _context, _listener, _socket
from harness import transport
from harness.broker import wait_until
from harness.mqtt_raw import V5, Client, connect
from harness.runner import case
from harness.websocket import Stream, WebSocket, handshake_text, read_response
from support import (DEADLINE_S, Sub, before_all_others, equal, is_sanitized, need, nightjar_only,
                     proc_status, pub, run, running)

GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CONNECT = b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\0\0\x02ab"
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def _plain(port):
    sock = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _v2(source, port=5555, command=0x21, extra=b""):
    body = socket.inet_aton(source) + socket.inet_aton("10.0.0.1") + struct.pack(">HH", port, 1883)
    return V2 + bytes([command, 0x11]) + struct.pack(">H", len(body) + len(extra)) + body + extra


def _answer(sock, data, trickle=False):
    """The first bytes that come back; b"" when the connection ends."""
    for piece in [bytes([byte]) for byte in data] if trickle else [data]:
        try:
            sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            break
    sock.settimeout(DEADLINE_S)
    try:
        return sock.recv(4096)
    except (ConnectionResetError, ssl.SSLError):
        return b""


def _any(*lines):
    return _listener("protocol any", *lines)


@case("One listener serves MQTT, MQTT in TLS, wss, metrics and a PROXY client at the same time")
def everything(_t):
    nightjar_only()
    need("mosquitto_pub")
    ca = transport.authority()
    with running(_any("proxy_protocol on", "trusted_proxy 127.0.0.1")) as broker:
        secure = ["-h", "127.0.0.1", "-p", str(broker.port), "--cafile", ca.certificate]
        web = WebSocket.__new__(WebSocket)
        tls = _socket(broker.port, _context(alpn=["http/1.1"]))
        tls.sendall(handshake_text().encode())
        answer, web.buffer = read_response(tls, has_body=False)
        equal(answer.status, 101)
        web.sock = tls
        browser = Client(broker.port, V5, client_id="browser", sock=Stream(web))
        browser.open()
        browser.subscribe("x")
        with Sub(broker.port, "-t", "x", form="%p") as plain:
            proxied = _plain(broker.port)
            equal(_answer(proxied, _v2("203.0.113.7") + CONNECT)[:1], b"\x20")
            for message, how in (("one", None), ("two", secure)):
                if how:
                    run("mosquitto_pub", *how, "-t", "x", "-m", message)
                else:
                    pub(broker.port, "-t", "x", "-m", message)
                equal(plain.message(), message)
                browser.receive("x", message.encode())
            for sock in (_plain(broker.port), _socket(broker.port)):
                assert b" 200 " in _answer(sock, GET % b"metrics")
        broker.wait_log(r"client=ab address=203.0.113.7:5555")


@case("Each protocol is known by its first bytes, however they are cut")
def first_bytes(_t):
    nightjar_only()
    with running(_any()) as broker:
        for trickle in (False, True):
            for make in (_plain, _socket, lambda port: _socket(port, _context(alpn=["mqtt"]))):
                equal(_answer(make(broker.port), CONNECT, trickle)[:1], b"\x20")
            for make in (_plain, _socket,
                         lambda port: _socket(port, _context(alpn=["http/1.1"]))):
                assert b" 200 " in _answer(make(broker.port), GET % b"healthz", trickle)
        equal(_answer(_plain(broker.port), b"\x01\x02\x03\x04"), b"")


@case("A long download and an upgrade work through TLS without ALPN")
def tunnel(_t):
    nightjar_only()
    with running(_any("http_dir {dir}"), files={"big.txt": "0123456789abcdef" * 300000}) as broker:
        sock = _socket(broker.port)
        sock.sendall(GET % b"big.txt")
        time.sleep(0.2)     # nothing depends on it: the broker meets a client that is slow
        answer, _ = read_response(sock)
        equal((answer.status, len(answer.body)), (200, 4800000))
        sock = _socket(broker.port)
        sock.sendall(handshake_text().encode())
        answer, left = read_response(sock, has_body=False)
        equal(answer.status, 101)
        web = WebSocket.__new__(WebSocket)
        web.sock, web.buffer = sock, left
        client = Client(broker.port, V5, client_id="inside", sock=Stream(web))
        client.open()
        client.expect_alive()
        client.close()
        broker.wait_log("client=inside .*connection was lost")


@case("Without a configuration file one address serves MQTT and HTTP")
def defaults(_t):
    nightjar_only()
    with running("listener {port} 127.0.0.1\nprotocol any\n") as broker:
        equal(_answer(_plain(broker.port), CONNECT)[:1], b"\x20")
        assert b" 200 " in _answer(_plain(broker.port), GET % b"readyz")
        equal(_answer(_plain(broker.port), _client_hello()), b"")
        broker.wait_log("the client speaks TLS, and this listener has no certfile")


@case("A listener of MQTT or of WebSockets stays strict")
def strict(_t):
    nightjar_only()
    conf = _listener() + "listener {port2} 127.0.0.1\nlistener {port3} 127.0.0.1\n" \
        "protocol websockets\n"
    with running(conf) as broker:
        assert b"HTTP" not in _answer(_socket(broker.port), GET % b"healthz")
        assert b"HTTP" not in _answer(_plain(broker.ports["port2"]), GET % b"healthz")
        assert _answer(_plain(broker.ports["port3"]), CONNECT)[:1] != b"\x20"


@case("PROXY protocol: both versions, plain and before TLS and inside it, byte by byte as well")
def proxy_headers(_t):
    nightjar_only()
    headers = ((b"PROXY TCP4 198.51.100.9 10.0.0.1 4711 1883\r\n", "198.51.100.9:4711"),
               (b"PROXY TCP6 2001:db8::9 ::1 4712 1883\r\n", r"\[2001:db8::9\]:4712"),
               (_v2("198.51.100.10", 4713), "198.51.100.10:4713"),
               (_v2("198.51.100.10", 4714, extra=b"\x04\0\x03abc"), "198.51.100.10:4714"))
    with running(_any("proxy_protocol on", "trusted_proxy 127.0.0.0/8")) as broker:
        for header, address in headers:
            for trickle in (False, True):
                seen = len(re.findall(f"client=ab address={address}", broker.log()))
                equal(_answer(_plain(broker.port), header + CONNECT, trickle)[:1], b"\x20")
                equal(_answer(_socket(broker.port), header + CONNECT, trickle)[:1], b"\x20")
                before = _plain(broker.port)
                before.sendall(header)
                before = _context().wrap_socket(before, server_hostname="localhost")
                equal(_answer(before, CONNECT, trickle)[:1], b"\x20")
                wait_until(lambda: len(re.findall(f"New client .* client=ab address={address}",
                                                  broker.log())) >= 3 and True or seen,
                           what=address)
        for nobody in (b"PROXY UNKNOWN\r\n", _v2("198.51.100.1", command=0x20)):
            equal(_answer(_plain(broker.port), nobody + CONNECT)[:1], b"\x20")
        equal(_answer(_plain(broker.port), CONNECT)[:1], b"\x20")
        assert b" 200 " in _answer(_plain(broker.port), headers[0][0] + GET % b"healthz")


@case("PROXY protocol: off, untrusted, broken or missing headers are refused, and the log says why")
def proxy_refusals(_t):
    nightjar_only()
    header = _v2("198.51.100.10")
    conf = "\n".join((
        "listener {port} 127.0.0.1", "protocol any", "proxy_protocol on", "trusted_proxy 10.0.0.0/8",
        "listener {port2} 127.0.0.1", "protocol any",
        "listener {port3} 127.0.0.1", "proxy_protocol required", "trusted_proxy 127.0.0.1", ""))
    with running(conf) as broker:
        untrusted, off, required = (broker.ports[name] for name in ("port", "port2", "port3"))
        equal(_answer(_plain(untrusted), header + CONNECT), b"")
        broker.wait_log("its address is not in trusted_proxy")
        equal(_answer(_plain(untrusted), CONNECT)[:1], b"\x20")
        equal(_answer(_plain(off), header + CONNECT), b"")
        broker.wait_log("proxy_protocol is 'off' here")
        equal(_answer(_plain(required), CONNECT), b"")
        broker.wait_log("there is no PROXY header, and proxy_protocol is 'required'")
        for broken, why in ((b"PROXY TCP4 1.2.3.4 5.6.7.8 70000 1\r\n", "a port that is none"),
                            (b"PROXY TCP4 1.2.3 5.6.7.8 7 1\r\n", "an address that is none"),
                            (b"PROXY " + b"x" * 120, "is longer than 107 bytes"),
                            (V2 + b"\x31\x11\0\x0c" + b"x" * 12, "a version or command"),
                            (V2 + b"\x21\x11\xff\xff", "is longer than 4096 bytes"),
                            (V2 + b"\x21\x11\0\x04abcd", "too short for its addresses")):
            equal(_answer(_plain(required), broken), b"")
            broker.wait_log(f"its PROXY header .*{why}")
        equal(_answer(_plain(required), header + CONNECT)[:1], b"\x20")


class Witness:
    """A client whose round trips are measured."""

    def __init__(self, broker):
        self.client = Client(0, V5, client_id="witness", sock=_plain(broker.port))
        self.client.open()

    def median_ms(self, seconds):
        times, end = [], time.monotonic() + seconds
        while time.monotonic() < end or len(times) < 20:
            began = time.perf_counter()
            self.client.expect_alive()
            times.append(time.perf_counter() - began)
            time.sleep(0.005)
        times.sort()
        return 1000 * times[len(times) // 2]


@case("10,000 connections that stay half-open hurt nobody: the witness, the memory, the time", own_broker=False)
def half_open(_t):
    nightjar_only()
    count = 900 if is_sanitized() else 9999
    hello = _client_hello()
    begins = (b"", hello[:40], hello, b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"\x10\x7f\0\x04MQ")
    with running("connect_timeout 8\nconnection_messages false\n" + _any()) as broker:
        witness = Witness(broker)
        with before_all_others(broker.pid):
            before_ms = witness.median_ms(1)
        memory = proc_status(broker.pid, "VmRSS")
        sockets, began = [], time.monotonic()
        for number in range(count):
            sock = socket.socket()
            sock.settimeout(DEADLINE_S)
            sock.connect(("127.0.0.1", broker.port))
            if begins[number % len(begins)]:
                sock.sendall(begins[number % len(begins)])
            sockets.append(sock)
            if number % 500 == 0:
                witness.client.expect_alive()
        opened = time.monotonic()
        with before_all_others(broker.pid) as is_first:
            during_ms = witness.median_ms(1)
        grown = proc_status(broker.pid, "VmRSS") - memory
        for sock in sockets:
            while True:
                try:
                    if not sock.recv(65536):
                        break
                except ConnectionResetError:
                    break
            sock.close()
        closed = time.monotonic()
        print(f"# {count} half-open: opened in {opened - began:.1f} s, round trip {before_ms:.2f} -> "
              f"{during_ms:.2f} ms, {grown // 1024} MiB, closed {closed - opened:.1f} s later",
              flush=True)
        # Otherwise the scheduler decides, on a machine with more to do than processors, and not the broker.
        assert during_ms < (10 * max(before_ms, 1) if is_first else 1000), (before_ms, during_ms)
        assert is_sanitized() or grown < 150 * 1024, f"{grown} KiB"
        witness.client.expect_alive()


@case("connect_timeout holds from the accept, whatever stage a connection has reached")
def timeouts(_t):
    nightjar_only()
    conf = "connect_timeout 5\n" + _any("proxy_protocol on", "trusted_proxy 127.0.0.1")
    with running(conf) as broker:
        began = time.monotonic()
        stuck = [_plain(broker.port), _socket(broker.port)]
        for start in (b"P", V2[:7], _v2("1.2.3.4"), connect("c", version=V5)[:5], b"GET / HT"):
            for make in (_plain, _socket):
                sock = make(broker.port)
                sock.sendall(start)
                stuck.append(sock)
        for sock in stuck:
            equal(_answer(sock, b""), b"")
        # The default is 10, and the last of them came some moments after the first.
        assert 4.5 < time.monotonic() - began < 20
