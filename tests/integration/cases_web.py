# SPDX-License-Identifier: Apache-2.0
"""HTTP and WebSocket listeners: what is served, to whom, and at what price."""
import os
import select
import socket
import statistics
import threading
import time

from harness.broker import default_bin, wait_until
from harness.mqtt_raw import PUBLISH, V5, Client, Mismatch, publish
from harness.runner import case
from harness.websocket import HandshakeError, Stream, WebSocket, read_response, request
from support import DEADLINE_S, equal, nightjar_only, run, run_both, running

WEB = "listener {port} 127.0.0.1\nprotocol websockets\n"


def get(port, path, method="GET", deadline_s=DEADLINE_S, **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return request(port, "\r\n".join(lines) + "\r\n\r\n", deadline_s=deadline_s,
                   has_body=method != "HEAD")


def ws_client(port, name, **connect_args):
    client = Client(port, V5, client_id=name, name=name, sock=Stream(WebSocket(port)))
    client.open(**connect_args)
    return client


@case("Health, readiness, metrics and the console are served beside WebSockets")
def endpoints(_t):
    nightjar_only()
    with running(WEB) as broker:
        equal(get(broker.port, "/healthz").body, b"ok\n")
        equal(get(broker.port, "/readyz").body, b"ready\n")
        metrics = get(broker.port, "/metrics")
        assert metrics.headers["content-type"].startswith("text/plain"), metrics.headers
        assert b"\nnightjar_http_requests_total " in metrics.body
        page = get(broker.port, "/", Accept_Encoding="gzip")
        if page.status != 404:      # a build without the console
            equal(page.headers["content-encoding"], "gzip")
            assert "default-src 'none'" in page.headers["content-security-policy"]
            again = get(broker.port, "/", If_None_Match=page.headers["etag"])
            equal((again.status, again.body), (304, b""))
        equal(get(broker.port, "/nothing").status, 404)


@case("HEAD has no body, other methods are refused, requests may share a connection")
def methods(_t):
    nightjar_only()
    with running(WEB) as broker:
        head = get(broker.port, "/healthz", "HEAD")
        equal((head.status, head.headers["content-length"], head.body), (200, "3", b""))
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            answer = get(broker.port, "/healthz", method, Content_Length=0)
            equal((answer.status, answer.headers["allow"]), (405, "GET, HEAD"))
        with socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S) as sock:
            one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
            for _ in range(5):
                sock.sendall(one)
                equal(read_response(sock)[0].body, b"ok\n")
            sock.sendall(one * 20)
            data = b""
            while data.count(b"\r\n\r\nok\n") < 20:
                more = sock.recv(65536)
                assert more, data[-200:]
                data += more
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while sock.recv(65536):
                pass


@case("Each page can be switched off, or bound to an address of this machine")
def switches(_t):
    nightjar_only()
    config = (WEB + "http_health false\nhttp_metrics 127.0.0.2\nhttp_console false\n"
              "listener {port2}\nsocket_domain ipv4\nprotocol websockets\nhttp_metrics 127.0.0.2\n")
    with running(config) as broker:
        for path in ("/healthz", "/readyz", "/metrics", "/"):
            equal((path, get(broker.port, path).status), (path, 404))
        both = broker.ports["port2"]
        equal(get(both, "/metrics").status, 404)
        with socket.create_connection(("127.0.0.2", both), DEADLINE_S) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            equal(read_response(sock)[0].status, 200)


@case("http_dir serves its files and nothing else")
def http_dir(_t):
    nightjar_only()
    files = {"www/index.html": "<p>home", "www/sub/index.html": "<p>sub", "www/a b.txt": "space",
             "www/.hidden": "no", "www/.git/config": "no", "secret": "no", "www/empty.txt": ""}
    with running(WEB + "http_dir {dir}/www\nhttp_console false\n", files=files) as broker:
        os.symlink("../secret", broker.path("www/out"))
        os.symlink("index.html", broker.path("www/in.html"))
        os.mkfifo(broker.path("www/fifo"))
        port = broker.port
        equal(get(port, "/").body, b"<p>home")
        equal(get(port, "/index.html").headers["content-type"], "text/html; charset=utf-8")
        equal(get(port, "/sub/").body, b"<p>sub")
        equal(get(port, "/a%20b.txt").body, b"space")
        equal((get(port, "/empty.txt").status, get(port, "/empty.txt").body), (200, b""))
        equal(get(port, "/in.html").status, 200)
        for path in ("/out", "/.hidden", "/.git/config", "/fifo", "/sub", "/../secret",
                     "/%2e%2e/secret", "/sub/../../secret", "/sub/%2e%2e/%2e%2e/secret",
                     "/..%2fsecret", "//secret", "/index.html%00.txt", "/x" * 600):
            answer = get(port, path)
            assert answer.status in (None, 400, 403, 404), (path, answer.status, answer.body)
        etag = get(port, "/index.html").headers["etag"]
        equal(get(port, "/index.html", If_None_Match=etag).status, 304)
        broker.write("www/index.html", "<p>changed")
        equal(get(port, "/index.html", If_None_Match=etag).body, b"<p>changed")
        equal(get(port, "/index.html", "HEAD").headers["content-length"], "10")


@case("A large file arrives whole, also for one who reads slowly, and costs little memory")
def large_file(_t):
    nightjar_only()
    body = os.urandom(20 << 20)
    with running(WEB + "http_dir {dir}/www\n", files={"www/x": ""}) as broker:
        with open(broker.path("www/large.bin"), "wb") as out:
            out.write(body)
        assert get(broker.port, "/large.bin").body == body
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        slow.settimeout(DEADLINE_S)
        slow.connect(("127.0.0.1", broker.port))
        slow.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while len(data) < 2 << 20:
            data += slow.recv(8192)
        assert data.split(b"\r\n\r\n", 1)[1] == body[:len(data) - data.index(b"\r\n\r\n") - 4]
        slow.close()
        equal(get(broker.port, "/healthz").body, b"ok\n")


@case("Who sends requests and does not take the answers is cut off")
def rude(_t):
    nightjar_only()
    with running(WEB + "http_dir {dir}/www\nconnect_timeout 1\n", files={"www/x": ""}) as broker:
        with open(broker.path("www/large.bin"), "wb") as out:
            out.write(b"x" * (30 << 20))
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", broker.port))
        sock.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        poll = select.poll()
        poll.register(sock, 0)      # a reset is told whatever is asked for
        assert poll.poll(DEADLINE_S * 1000), "still open"
        sock.close()


def _forwarded(broker, **headers):
    web = WebSocket(broker.port, **headers)
    client = Client(broker.port, V5, client_id="proxied", sock=Stream(web))
    client.open()
    client.leave()


@case("The address that a trusted proxy forwards is the client's; nobody else is believed")
def forwarded(_t):
    nightjar_only()
    with running(WEB + "trusted_proxy 127.0.0.0/8\ntrusted_proxy 10.1.1.1\n") as broker:
        _forwarded(broker, X_Forwarded_For="6.6.6.6, 203.0.113.7, 10.1.1.1")
        broker.wait_log(r"New client connected.*address=203\.0\.113\.7")
        _forwarded(broker, X_Real_IP="2001:db8::5")
        broker.wait_log(r"New client connected.*2001:db8::5")
        _forwarded(broker, X_Forwarded_For="no address")
        broker.wait_log(r"New client connected.*address=127\.0\.0\.1")
    with running(WEB) as broker:
        _forwarded(broker, X_Forwarded_For="203.0.113.7", X_Real_IP="203.0.113.7")
        broker.wait_log(r"New client connected.*address=127\.0\.0\.1")
        assert "203.0.113.7" not in broker.log()


@case("nightjar --healthcheck tells a broker that serves from one that does not")
def healthcheck(_t):
    nightjar_only()
    for config in (WEB, "listener {port} 127.0.0.1\n", "listener 0 {dir}/sock\n"
                   "listener {port} 127.0.0.1\nmax_connections 1\n",
                   WEB + "http_health false\n"):
        with running(config) as broker:
            path = broker.path("broker.conf")
            out = run(default_bin(), "-c", path, "--healthcheck")
            assert out.startswith("nightjar: the broker serves ("), out
            broker.proc.terminate()
            broker.proc.wait(DEADLINE_S)
            out = run_both(default_bin(), "-c", path, "--healthcheck", expect=1)
            assert out.startswith("nightjar: not healthy: "), out


def _exchange(port, name, number, count):
    """A session that may live on another worker: bytes both ways through the relay."""
    client = ws_client(port, name, clean=number == 0,
                       properties={"session_expiry_interval": 300})
    topic = f"relay/{name}/{number}"
    client.subscribe((topic, 1))
    body = os.urandom(300000)
    client.send(publish(topic, body))
    equal(client.expect(PUBLISH).payload == body, True)
    for index in range(count):
        client.send(publish(topic, b"%d" % index))
    for index in range(count):
        equal(client.expect(PUBLISH).payload, b"%d" % index)
    return client


@case("A session on another worker is served through a relay, both ways")
def relay(_t):
    nightjar_only()
    with running(WEB, workers="4") as broker:
        for number in range(16):
            client = _exchange(broker.port, "moved", number, 200)
            if number % 2:
                client.leave()
            else:
                client.close()


@case("A relay to a client that does not read is bounded, and its session survives")
def relay_slow(_t):
    nightjar_only()
    config = WEB + "max_queued_messages 50\noutput_buffer_bytes 65536\n"
    with running(config, workers="4") as broker:
        for number in range(8):
            web = WebSocket(broker.port, rcvbuf=4096)
            slow = Client(broker.port, V5, client_id="slow", sock=Stream(web))
            slow.open(clean=number == 0, properties={"session_expiry_interval": 300})
            if number == 0:
                slow.subscribe(("relay/slow", 1))
            publisher = ws_client(broker.port, "publisher")
            for _ in range(300):
                publisher.send(publish("relay/slow", b"x" * 20000))
            publisher.expect_alive()
            publisher.leave()
            slow.close()
        # What is still on its way between workers counts as well, and so it is waited for.
        wait_until(lambda: _memory_used(broker.port) < 8 << 20, what="8 MiB")


def _memory_used(port):
    return sum(int(line.split()[-1]) for line in get(port, "/metrics").body.decode().splitlines()
               if line.startswith("nightjar_memory_bytes"))


@case("Takeovers of one client id from many WebSockets at once end with one connection")
def takeovers(_t):
    nightjar_only()
    with running(WEB, workers="4") as broker:
        def again(_number):
            for _ in range(10):
                client = Client(broker.port, V5, client_id="same",
                                sock=Stream(WebSocket(broker.port)))
                try:
                    client.open()
                    client.ping()
                except (Mismatch, OSError, AttributeError):
                    pass        # taken over meanwhile
                client.close()
        threads = [threading.Thread(target=again, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        last = ws_client(broker.port, "same")
        last.expect_alive()
        wait_until(lambda: b"nightjar_clients_connected 1\n"
                   in get(broker.port, "/metrics").body, what="one client left")


@case("A broker with open WebSockets stops at once, and says goodbye to each")
def stop(_t):
    nightjar_only()
    with running(WEB, workers="2") as broker:
        clients = [ws_client(broker.port, f"c{number}") for number in range(20)]
        mute = [WebSocket(broker.port) for _ in range(3)]
        broker.stop()
        for client in clients:
            client.expect_closed(reason=0x8B)
            equal(client.sock.close_code, 1001)
        for web in mute:
            web.sock.close()


def _half_open(port, count):
    """Headers without end."""
    socks = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        sock.sendall(b"GET /mqtt HTTP/1.1\r\nHost: x\r\nX-Never: ")
        socks.append(sock)
    return socks


@case("2,000 headers without end hurt nobody and are closed in time")
def half_open(_t):
    nightjar_only()
    with running(WEB + "connect_timeout 3\n", workers="2") as broker:
        witness = ws_client(broker.port, "witness")
        witness.subscribe("w")
        socks = _half_open(broker.port, 2000)
        took = []
        for _ in range(20):
            begin = time.monotonic()
            witness.send(publish("w", b"x"))
            witness.expect(PUBLISH)
            took.append(time.monotonic() - begin)
        assert statistics.median(took) < 0.5, took
        for sock in socks:
            equal(sock.recv(1), b"")
            sock.close()
        equal(get(broker.port, "/healthz").body, b"ok\n")


@case("max_connections counts WebSockets, and their places come back")
def places(_t):
    nightjar_only()
    with running(WEB + "max_connections 4\n") as broker:
        for _ in range(5):
            # A place is free some moment after its client has seen the end of the connection.
            clients = [wait_until(lambda n=number: _comes_in(broker.port, f"c{n}"), what="a place")
                       for number in range(3)]
            for client in clients:
                client.leave()
        wait_until(lambda: _is_free(broker.port, 4), what="all places")


def _comes_in(port, name):
    """A client, or None when there is no place for it."""
    try:
        return ws_client(port, name)
    except HandshakeError:
        return None


def _is_free(port, count):
    webs = []
    try:
        for _ in range(count):
            webs.append(WebSocket(port))
        return True
    except Exception:       # pylint: disable=broad-except
        return False
    finally:
        for web in webs:
            web.sock.close()
