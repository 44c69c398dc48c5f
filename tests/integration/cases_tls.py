# SPDX-License-Identifier: Apache-2.0
"""TLS: who gets in by certificate or pre-shared key, which certificate is shown, and renewing them."""
import os
import shutil
import socket
import ssl
import threading
import time

from harness import transport
from harness.broker import wait_until
from harness.certificates import Authority, openssl
from harness.mqtt_raw import V5, Client, publish
from harness.runner import case
from support import (DEADLINE_S, Sub, equal, is_sanitized, need, nightjar_only, run, running,
                     start_and_fail)

_lock = threading.Lock()
_made = {}

LISTENER = """listener {{port}} 127.0.0.1
certfile {crt}
keyfile {key}
"""


def _world():
    """Certificates of every kind, made once."""
    with _lock:
        if not _made:
            ca = transport.authority()
            other = Authority(os.path.join(ca.folder, "other"), "Somebody Else")
            ca.issue("pump", "/CN=pump/O=Plant")
            ca.issue("valve")
            ca.expired("old")
            ca.issue("gone")
            ca.revoke("gone")
            ca.revocations()
            ca.server("second", hosts=("second.example", "*.wild.example"))
            ca.server("rsa", kind="rsa")
            other.issue("alien")
            other.server()
            ca.make_readable()
            other.make_readable()
            _made.update(ca=ca, other=other)
    return _made["ca"], _made["other"]


def _listener(*lines):
    ca, _ = _world()
    return LISTENER.format(crt=ca.path("server.crt"), key=ca.path("server.key")) \
        + "".join(line + "\n" for line in lines)


def _mutual(*lines):
    ca, _ = _world()
    return _listener(f"cafile {ca.certificate}", f"crlfile {ca.path('revoked.crl')}",
                     "require_certificate true", *lines)


def _context(client=None, version=None, alpn=None, authority=None):
    ca, _ = _world()
    context = ssl.create_default_context(cafile=(authority or ca).certificate)
    if client:
        who = _made["other"] if client == "alien" else ca
        context.load_cert_chain(who.path(f"{client}.crt"), who.path(f"{client}.key"))
    if version:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def _socket(port, context=None, server_name="localhost", session=None):
    sock = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
    context = context or _context()
    return context.wrap_socket(sock, server_hostname=server_name, session=session)


def _client(broker, name, context=None, server_name="localhost", **connect_args):
    sock = socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S)
    made = Client(broker.port, V5, client_id=name, name=name,
                  sock=transport.TlsSocket(sock, context or _context(), server_name))
    made.open(**connect_args)
    return made


def _serial(sock):
    return sock.getpeercert()["serialNumber"]


def _refused(port, context=None):
    """The client learns that it is not wanted: at once, or (TLS 1.3) with its first read."""
    try:
        with _socket(port, context) as sock:
            return sock.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


@case("mTLS: the certificate's name is the user name, and ACLs hold for it", own_broker=False)
def identity_and_acl(_t):
    nightjar_only()
    acl = "user pump\ntopic readwrite pump/#\nuser CN=valve\ntopic read pump/#\n"
    conf = _mutual("use_identity_as_username true", "acl_file {dir}/acl")
    with running(conf, files={"acl": acl}) as broker:
        eye = _client(broker, "eye", _context("pump"))
        eye.subscribe(("pump/#", 1))
        # What CONNECT says of itself does not count.
        pump = _client(broker, "p", _context("pump"), username="valve", password=b"x")
        pump.publish("pump/1", b"on", qos=1)
        eye.receive("pump/1", b"on", qos=1)
        valve = _client(broker, "v", _context("valve"))
        valve.publish("pump/1", b"off", qos=1, reason=0x87)
        eye.expect_alive()
        broker.wait_log(r"client=p user=pump")
        # A reload asks no password file about those whom TLS has named.
        broker.reload()
        broker.wait_log(r"Configuration reloaded")
        pump.publish("pump/1", b"still", qos=1)
        eye.receive("pump/1", b"still", qos=1)


@case("mTLS: the whole subject as the user name")
def subject(_t):
    nightjar_only()
    with running(_mutual("use_subject_as_username true")) as broker:
        _client(broker, "s", _context("pump"))
        broker.wait_log(r"client=s user=O=Plant,CN=pump|client=s user=\"?O=Plant,CN=pump")


@case("mTLS: expired, revoked and unknown certificates, and none, are refused; the log says which")
def refused_certificates(_t):
    nightjar_only()
    ca, other = _world()
    with running(_mutual()) as broker:
        for who, why, serial in (("old", "it has expired", ca.serial_of("old")),
                                 ("gone", "it has been revoked", ca.serial_of("gone")),
                                 ("alien", "it is signed by an unknown CA",
                                  other.serial_of("alien"))):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                assert _refused(broker.port, _context(who, version)), who
            broker.wait_log(rf"Certificate refused \(CN={who}, serial number 0*{serial}\) "
                            rf"address=127.0.0.1:\d+ reason=\"{why}")
        assert _refused(broker.port, _context())
        broker.wait_log("the client has no certificate, and require_certificate is true")
        _client(broker, "fine", _context("pump")).leave()


@case("A client that does not trust the broker, speaks no TLS, or is too old: the log says so")
def handshake_failures(_t):
    nightjar_only()
    _, other = _world()
    with running(_listener("tls_version tlsv1.3")) as broker:
        assert _refused(broker.port, _context(authority=other))
        broker.wait_log(r"TLS handshake failed .*does not trust our certificate \(unknown CA\)")
        plain = socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S)
        plain.sendall(b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02ab" * 20)
        while plain.recv(100):
            pass
        broker.wait_log(r"TLS handshake failed .*what the client sent is not TLS")
        assert _refused(broker.port, _context(version=ssl.TLSVersion.TLSv1_2))
        broker.wait_log(r"TLS version is older than tls_version")
        _client(broker, "fine").leave()


@case("ALPN: mqtt and x-amzn-mqtt-ca are agreed on, others are refused, and none is fine")
def alpn(_t):
    nightjar_only()
    with running(_listener()) as broker:
        for name in ("mqtt", "x-amzn-mqtt-ca"):
            with _socket(broker.port, _context(alpn=["h2", name])) as sock:
                equal(sock.selected_alpn_protocol(), name)
        assert _refused(broker.port, _context(alpn=["h2", "http/1.1"]))
        broker.wait_log("asked by ALPN for a protocol that is not served here")
        with _socket(broker.port) as sock:
            equal(sock.selected_alpn_protocol(), None)


@case("SNI: the certificate follows the name that the client asks for; OCSP is stapled to its own only")
def server_names(_t):
    nightjar_only()
    ca, _ = _world()
    ca.ocsp("server")
    ca.make_readable()
    conf = _listener(f"sni_certificate {ca.path('second.crt')} {ca.path('second.key')}",
                     f"sni_certificate {ca.path('rsa.crt')} {ca.path('rsa.key')}",
                     f"ocsp_file {ca.path('ocsp.der')}")
    with running(conf) as broker:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for name, who in (("localhost", "server"), ("second.example", "second"),
                              ("a.wild.example", "second")):
                with _socket(broker.port, _context(version=version), name) as sock:
                    equal(int(_serial(sock), 16), int(ca.serial_of(who), 16))
        shown = openssl("s_client", "-connect", f"127.0.0.1:{broker.port}", "-servername",
                        "localhost", "-status", "-CAfile", ca.certificate, stdin=b"Q\n").decode()
        assert "OCSP Response Status: successful" in shown, shown
        shown = openssl("s_client", "-connect", f"127.0.0.1:{broker.port}", "-servername",
                        "second.example", "-status", "-CAfile", ca.certificate,
                        stdin=b"Q\n").decode()
        assert "OCSP response: no response sent" in shown, shown


def _session_of(sock):
    """TLS 1.3 sends its ticket behind the handshake: something has to be read."""
    sock.sendall(b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\0\0\x02ab")
    assert sock.recv(2) == b"\x20\x09"
    return sock.session


@case("A TLS session is resumed on any worker, also after a renewal, not after a new list of "
      "revocations")
def resumption(_t):
    nightjar_only()
    ca, _ = _world()
    with running(_mutual("worker_threads 4", "tls_watch true").replace(
            ca.path("revoked.crl"), "{dir}/crl"),
            files={"crl": open(ca.path("revoked.crl"), encoding="ascii").read()}) as broker:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = _context("pump", version)
            with _socket(broker.port, context) as sock:
                assert not sock.session_reused
                session = _session_of(sock)
            for _ in range(12):
                with _socket(broker.port, context, session=session) as sock:
                    assert sock.session_reused, version
                    session = _session_of(sock)
        broker.reload()
        broker.wait_log("has read its certificates again")
        with _socket(broker.port, context, session=session) as sock:
            assert sock.session_reused
            session = _session_of(sock)
        ca.revocations("later.crl")
        with open(ca.path("later.crl"), encoding="ascii") as later:
            broker.write("crl", later.read() + "\n")
        wait_until(lambda: broker.log().count("has read its certificates again") >= 2,
                   what="tls_watch saw the new list")
        with _socket(broker.port, context, session=session) as sock:
            assert not sock.session_reused


@case("Renewing a certificate under 1,000 open connections drops none")
def renewal(_t):
    nightjar_only()
    ca, _ = _world()
    count = 100 if is_sanitized() else 1000
    conf = "listener {port} 127.0.0.1\ncertfile {dir}/s.crt\nkeyfile {dir}/s.key\n"
    files = {"s.crt": _text(ca.path("server.crt")), "s.key": _text(ca.path("server.key"))}
    with running(conf, files=files, workers=2) as broker:
        context = _context()
        clients = [_client(broker, f"r{n}", context) for n in range(count)]
        with _socket(broker.port) as sock:
            before = _serial(sock)
        ca.server("renewed")
        broker.write("s.key", _text(ca.path("renewed.key")))
        broker.write("s.crt", _text(ca.path("renewed.crt")))
        broker.reload()
        broker.wait_log("has read its certificates again")
        with _socket(broker.port) as sock:
            assert _serial(sock) != before
            equal(int(_serial(sock), 16), int(ca.serial_of("renewed"), 16))
        for client in clients:
            client.send(b"\xc0\0")
        for client in clients:
            client.expect_alive() if client is clients[0] else _pong(client)
        for client in clients:
            client.close()


def _pong(client):
    pkt = client.recv()
    assert pkt is not None and pkt.type == 13, pkt


def _text(path):
    with open(path, encoding="ascii") as file:
        return file.read()


@case("tls_watch: a renamed, a rewritten and a linked certificate are taken over; a broken one is not")
def watching(_t):
    nightjar_only()
    ca, _ = _world()
    conf = "tls_watch true\nlistener {port} 127.0.0.1\ncertfile {dir}/live/s.crt\n" \
           "keyfile {dir}/live/s.key\n"
    with running_linked(conf, ca) as broker:
        serial = _shown(broker)
        for name, put in (("w1", _put_renamed), ("w2", _put_linked)):
            ca.server(name)
            ca.make_readable()
            put(broker, ca, name)
            serial = wait_until(lambda: _shown(broker) != serial and _shown(broker),
                                what=f"the certificate {name}")
            equal(int(serial, 16), int(ca.serial_of(name), 16))
        with open(broker.path("live/s.crt"), "w", encoding="ascii") as file:
            file.write("nonsense\n")
        broker.wait_log(r"keeps the certificates that it has, because .* holds no certificate in PEM")
        equal(_shown(broker), serial)


def running_linked(conf, ca):
    """live -> a directory that holds certificate and key, as certbot and Kubernetes lay them out."""
    from harness.broker import Broker

    class Linked(Broker):
        def _prepare(self):
            super()._prepare()
            _place(self.dir, ca, "server", "v0")
    return Linked(conf)


def _place(folder, ca, name, version):
    real = os.path.join(folder, version)
    os.makedirs(real)
    for end in ("crt", "key"):
        shutil.copyfile(ca.path(f"{name}.{end}"), os.path.join(real, f"s.{end}"))
        os.chmod(os.path.join(real, f"s.{end}"), 0o666)
    os.chmod(real, 0o777)
    os.symlink(version, os.path.join(folder, "new"))
    os.rename(os.path.join(folder, "new"), os.path.join(folder, "live"))


def _put_renamed(broker, ca, name):
    for end in ("key", "crt"):
        shutil.copyfile(ca.path(f"{name}.{end}"), broker.path(f"live/tmp.{end}"))
        os.rename(broker.path(f"live/tmp.{end}"), broker.path(f"live/s.{end}"))


def _put_linked(broker, ca, name):
    _place(broker.dir, ca, name, "v1")


def _shown(broker):
    with _socket(broker.port) as sock:
        return _serial(sock)


@case("A reload with a certificate that cannot be used keeps the old one, and the rest is taken over")
def broken_reload(_t):
    nightjar_only()
    ca, _ = _world()
    conf = "listener {port} 127.0.0.1\ncertfile {dir}/s.crt\nkeyfile {dir}/s.key\n"
    files = {"s.crt": _text(ca.path("server.crt")), "s.key": _text(ca.path("server.key"))}
    with running(conf, files=files) as broker:
        for broken, why in ((_text(ca.path("pump.crt")), "does not belong to the first certificate"),
                            (_text(ca.path("old.crt")), "does not belong"),
                            ("", "holds no certificate in PEM form")):
            broker.write("s.crt", broken)
            broker.reload()
            broker.wait_log(rf"keeps the certificates that it has, because .*{why}")
            equal(int(_shown(broker), 16), int(ca.serial_of("server"), 16))
        broker.write("s.crt", _text(ca.path("old.crt")))
        broker.write("s.key", _text(ca.path("old.key")))
        broker.reload()
        broker.wait_log(r"keeps the certificates that it has, because .* expired on 2020-02-01")


@case("A start with files of TLS that cannot be used ends, and says which and how to mend it")
def bad_files(_t):
    nightjar_only()
    ca, other = _world()
    locked = ca.path("locked.key")
    openssl("pkey", "-in", ca.path("server.key"), "-aes256", "-passout", "pass:x", "-out", locked)
    crt, key = ca.path("server.crt"), ca.path("server.key")
    rows = (
        (f"certfile {ca.folder}/none.crt", f"keyfile {key}", "Cannot read the certfile"),
        (f"certfile {key}", f"keyfile {key}", "holds no certificate in PEM form"),
        (f"certfile {crt}", f"keyfile {ca.folder}/none.key", "Cannot read the keyfile"),
        (f"certfile {crt}", f"keyfile {crt}", "holds no private key in PEM form"),
        (f"certfile {crt}", f"keyfile {other.path('server.key')}", "does not belong to the first"),
        (f"certfile {crt}", f"keyfile {locked}", "protected by a passphrase"),
        (f"certfile {crt}", f"keyfile {key}\ncafile {key}", "cafile .* holds no certificate"),
        (f"certfile {crt}", f"keyfile {key}\ncapath {key}", "Cannot read the capath"),
        (f"certfile {crt}", f"keyfile {key}\ncrlfile {crt}", "holds no list of revoked"),
        (f"certfile {crt}", f"keyfile {key}\nciphers nonsense", "'ciphers nonsense' cannot be used"),
        (f"certfile {crt}", f"keyfile {key}\nciphers_tls1.3 nonsense", "'ciphers_tls1.3 nonsense'"),
        (f"certfile {crt}", f"keyfile {key}\ndhparamfile {crt}", "holds no parameters"),
        (f"certfile {crt}", f"keyfile {key}\nocsp_file {crt}", "is not an OCSP response"),
        ("psk_hint h", "psk_file {dir}/psk", "psk_file .*: line 2 has a key that is not made of"),
    )
    for first, second, wanted in rows:
        conf = f"listener 0 {{dir}}/s\n{first}\n{second}\n"
        for args in ((), ("--test-config",)):
            code, out, _ = start_and_fail(conf, *args, files={"psk": "a:00ff\nb:xyz\n"})
            equal(code, 1)
            import re
            assert re.search(wanted, out.replace("\n", " ")), (wanted, out)


@case("Pre-shared keys: the identity is the user name; a wrong key and an unknown name are refused")
def pre_shared(_t):
    nightjar_only()
    need("mosquitto_pub")
    conf = "listener {port} 127.0.0.1\npsk_hint here\npsk_file {dir}/psk\n" \
           "use_identity_as_username true\nacl_file {dir}/acl\n"
    files = {"psk": "# devices\nann:0102030405060708090a0b0c0d0e0f10\nbob:ff00ff00ff00ff00\n",
             "acl": "user ann\ntopic readwrite ann/#\nuser bob\ntopic read ann/#\n"}

    def args(name, key):
        return ["-h", "127.0.0.1", "-p", str(broker.port), "--psk", key, "--psk-identity", name]
    with running(conf, files=files) as broker:
        ann = args("ann", "0102030405060708090a0b0c0d0e0f10")
        with Sub(None, "-t", "ann/#", form="%p", command=["mosquitto_sub", *ann]) as sub:
            run("mosquitto_pub", *ann, "-t", "ann/x", "-m", "hello", "-q", "1")
            run("mosquitto_pub", *args("bob", "ff00ff00ff00ff00"), "-t", "ann/x", "-m", "no", "-q",
                "1")
            run("mosquitto_pub", *ann, "-t", "ann/x", "-m", "again", "-q", "1")
            equal([sub.message(), sub.message()], ["hello", "again"])
        run("mosquitto_pub", *args("bob", "ff00ff00ff00ff01"), "-t", "a", "-m", "x", expect=None)
        run("mosquitto_pub", *args("eve", "ff00ff00ff00ff01"), "-t", "a", "-m", "x", expect=None)
        wait_until(lambda: broker.log().count("TLS handshake failed") >= 2, what="two refusals")
        broker.wait_log("user=bob")
        assert "user=eve" not in broker.log()


@case("A handshake that comes byte by byte works; one that stops is cut at connect_timeout")
def dribbled(_t):
    nightjar_only()
    with running(_listener()) as broker:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = _context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        sock = socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    sock.sendall(bytes([byte]))
                came = sock.recv(65536)
                assert came, "the broker has closed"
                incoming.write(came)
        tls.write(b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\0\0\x02ab")
        for byte in outgoing.read():
            sock.sendall(bytes([byte]))
        incoming.write(sock.recv(65536))
    hello = _client_hello()
    with running("connect_timeout 2\n" + _listener()) as broker:
        began = time.monotonic()
        for cut in (1, 5, 50, len(hello)):
            stopped = socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S)
            stopped.sendall(hello[:cut])
            while stopped.recv(65536):
                pass
            # The default is 10.
            assert 1.5 < time.monotonic() - began < 9.5, cut
            began = time.monotonic()


def _client_hello():
    outgoing = ssl.MemoryBIO()
    tls = _context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@case("A large message goes through TLS both ways, to a client that reads slowly")
def large(_t):
    nightjar_only()
    payload = os.urandom(1 << 20) * 5
    with running(_listener("worker_threads 2")) as broker:
        reader = _client(broker, "reader")
        reader.subscribe(("big", 1))
        writer = _client(broker, "writer")
        for _ in range(3):
            writer.publish("big", payload, qos=1)
        for _ in range(3):
            reader.receive("big", payload, qos=1)
        # Taken over on the session's own worker, with its TLS state and bytes that are there already.
        for number in range(12):
            again = _client(broker, "reader", clean=False)
            again.subscribe(("big", 1))
            again.send(publish("big", b"%d" % number, 1, 9, version=V5))
            got = {again.recv().type for _ in range(2)}
            equal(got, {3, 4})
