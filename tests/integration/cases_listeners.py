# SPDX-License-Identifier: Apache-2.0
"""Listeners and what belongs to each of them."""
import os
import socket
import tempfile

from harness.broker import wait_until
from harness.mqtt_raw import V311, V5, Client, connect, publish
from harness.runner import Skip, case
from support import Sub, equal, nightjar_only, pub, run, running


def _client(port, name, version=V5, reason=0, host="127.0.0.1", **connect_args):
    client = Client(port, version, client_id=name, name=name, host=host)
    client.open(reason=reason, **connect_args)
    return client


@case("Two listeners serve the same topics")
def two_listeners(_t):
    with running("listener {port} 127.0.0.1\nlistener {port2} 127.0.0.1\n") as broker:
        with Sub(broker.ports["port2"], "-t", "a", "-q", 1) as sub:
            pub(broker.port, "-t", "a", "-m", "across", "-q", 1)
            equal(sub.message(), "a|1|0|across")


@case("A listener without an address serves IPv4 and IPv6")
def both_families(_t):
    with running("listener {port}\n") as broker:
        _client(broker.port, "four").expect_alive()
        if not _has_ipv6():
            raise Skip("no IPv6 here")
        _client(broker.port, "six", host="::1").expect_alive()


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


@case("socket_domain ipv4 listens on IPv4 only")
def socket_domain(_t):
    with running("listener {port}\nsocket_domain ipv4\n") as broker:
        _client(broker.port, "four").expect_alive()
        try:
            socket.create_connection(("::1", broker.port), 5).close()
        except OSError:
            return
        raise AssertionError("IPv6 was served")


@case("bind_interface lo serves the loopback")
def bind_interface(_t):
    with running("listener {port}\nbind_interface lo\n") as broker:
        _client(broker.port, "c").expect_alive()
        addresses = [word for word in run("hostname", "-I", expect=None).split() if ":" not in word]
        for address in addresses:
            try:
                socket.create_connection((address, broker.port), 5).close()
            except OSError:
                continue
            raise AssertionError(f"{address} was served")


@case("port and bind_address, the old form, make a listener")
def old_form(_t):
    with running("port {port}\nbind_address 127.0.0.1\n") as broker:
        _client(broker.port, "c").expect_alive()


@case("A Unix socket is a listener, and goes at the end")
def unix_socket(_t):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        path = os.path.join(folder, "mqtt.sock")
        with running(f"listener {{port}} 127.0.0.1\nlistener 0 {path}\n") as broker:
            with Sub(broker.port, "-t", "#", "-q", 1) as sub:
                run("mosquitto_pub", "--unix", path, "-t", "a", "-m", "local", "-q", "1")
                equal(sub.message(), "a|1|0|local")
            clients = []
            for number in range(12):        # they are dealt round to all workers
                sock = socket.socket(socket.AF_UNIX)
                sock.connect(path)
                client = Client(0, V5, client_id=f"u{number}", sock=sock)
                client.open()
                client.subscribe("all")
                clients.append(client)
            _client(broker.port, "tcp").publish("all", b"x", qos=1)
            for client in clients:
                client.receive("all", b"x")
        assert not os.path.exists(path) or not broker.is_nightjar, "the socket was left"


@case("A stale Unix socket is replaced, a living one is not")
def unix_socket_stale(_t):
    nightjar_only()
    from support import start_and_fail
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        path = os.path.join(folder, "mqtt.sock")
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        os.chmod(path, 0o666)
        with running(f"listener {{port}} 127.0.0.1\nlistener 0 {path}\n"):
            run("mosquitto_pub", "--unix", path, "-t", "a", "-m", "x", "-q", "1")
            code, output, _ = start_and_fail(f"listener 0 {path}\n")
            equal(code, 1)
            assert "in use" in output.lower() and path in output, output
            run("mosquitto_pub", "--unix", path, "-t", "a", "-m", "x", "-q", "1")


@case("mount_point puts a listener's clients into a branch of their own")
def mount_point(_t):
    nightjar_only()
    with running("listener {port} 127.0.0.1\nlistener {port2} 127.0.0.1\n"
                 "mount_point branch/\n") as broker:
        outer, inner = _client(broker.port, "outer"), _client(broker.ports["port2"], "inner")
        outer.subscribe(("#", 1))
        inner.subscribe(("#", 1))
        inner.publish("x", b"from inside", qos=0)
        outer.receive("branch/x", b"from inside")
        inner.receive("x", b"from inside")
        outer.send(publish("branch/y", b"from outside"))
        outer.receive("branch/y", b"from outside")
        inner.receive("y", b"from outside")
        outer.publish("elsewhere", b"not for you", qos=0)
        outer.receive("elsewhere", b"not for you")
        inner.expect_alive()


@case("mount_point holds for retained messages, wills, shared groups and response topics")
def mount_point_everywhere(_t):
    nightjar_only()
    with running("listener {port} 127.0.0.1\nlistener {port2} 127.0.0.1\n"
                 "mount_point branch/\n") as broker:
        port2 = broker.ports["port2"]
        outer, inner = _client(broker.port, "outer"), _client(port2, "inner")
        inner.publish("kept", b"r", qos=1, retain=True)
        outer.subscribe("branch/kept")
        outer.receive("branch/kept", b"r", retain=True)
        late = _client(port2, "late")
        late.subscribe("kept")
        late.receive("kept", b"r", retain=True)
        outer.subscribe("branch/will")
        dying = _client(port2, "dying", will={"topic": "will", "payload": b"w"})
        dying.close()
        outer.receive("branch/will", b"w")
        inner.subscribe("$share/g/jobs")
        outer.publish("branch/jobs", b"j")
        inner.receive("jobs", b"j")


@case("What is too long behind a mount_point is refused, in a will too")
def mount_point_too_long(_t):
    nightjar_only()
    with running("listener {port} 127.0.0.1\nmount_point branch/of/this/listener/\n") as broker:
        long = "a" * 65535
        _client(broker.port, "will", reason=0x90, will={"topic": long, "payload": b"w"})
        client = _client(broker.port, "long")
        client.publish(long, b"x", qos=1, reason=0x90)
        client.subscribe(long, reasons=[0x8F])
        client.unsubscribe(long, reasons=[0x11])
        client.subscribe("$share/g/" + "a" * 65520, reasons=[0x8F])
        client.unsubscribe("$share/g/" + "a" * 65520, reasons=[0x11])
        client.expect_alive()


@case("max_connections refuses one too many, and the next when one has left")
def max_connections(_t):
    with running("listener {port} 127.0.0.1\n\nlistener {port2} 127.0.0.1\n"
                 "max_connections 3\n") as broker:
        port = broker.ports["port2"]
        # The harness looked whether the listener is up, and that connection may still count.
        clients = [wait_until(lambda n=n: _try(port, f"c{n}"), 10, "a place") for n in range(3)]
        extra = Client(port, V5, client_id="extra")
        extra.send(connect("extra"))
        answer = extra.recv()
        assert answer is None or answer.reason in (0x89, 0x97, 0x9F), answer
        _client(broker.port, "other-listener").expect_alive()
        clients[0].leave()
        wait_until(lambda: _try(port, "again"), 10, "a place after one left")
        clients[1].expect_alive()


def _try(port, name):
    """A client, or None when it is refused."""
    client = Client(port, V5, client_id=name, name=name)
    client.send(connect(name))
    answer = client.recv()
    return client if answer and answer.reason == 0 else None


@case("per_listener_settings: each listener has its own users and rights")
def per_listener_settings(_t):
    acl = "topic read only/this\n"
    with running("per_listener_settings true\n"
                 "listener {port} 127.0.0.1\nallow_anonymous true\n"
                 "listener {port2} 127.0.0.1\nallow_anonymous true\nacl_file {dir}/acl\n"
                 "listener {port3} 127.0.0.1\nallow_anonymous false\n",
                 files={"acl": acl}) as broker:
        free, bound = _client(broker.port, "free"), _client(broker.ports["port2"], "bound")
        _client(broker.ports["port3"], "none", reason=frozenset({0x86, 0x87}))
        free.subscribe(("a", 1))
        free.publish("a", b"x", qos=0)
        free.receive("a", b"x")
        bound.publish("a", b"x", qos=1, reason=0x87)
        bound.subscribe("only/this")
        free.publish("only/this", b"y", qos=0)
        bound.receive("only/this", b"y")


@case("max_qos and max_topic_alias are told to version 5 clients of that listener")
def limits_per_listener(_t):
    nightjar_only()
    with running("listener {port} 127.0.0.1\n\nlistener {port2} 127.0.0.1\nmax_qos 1\n"
                 "max_topic_alias 3\n") as broker:
        told = _client(broker.ports["port2"], "told").connack.properties
        equal((told.get("maximum_qos"), told["topic_alias_maximum"]), (1, 3))
        told = _client(broker.port, "other").connack.properties
        equal((told.get("maximum_qos"), told["topic_alias_maximum"]), (None, 10))


@case("An address in brackets or by name works")
def by_name(_t):
    try:
        socket.getaddrinfo("localhost", 0)
    except socket.gaierror:
        raise Skip("this machine does not know the name localhost") from None
    with running("listener {port} localhost\n") as broker:
        for version in (V311, V5):
            _client(broker.port, f"c{version}", version).expect_alive()
