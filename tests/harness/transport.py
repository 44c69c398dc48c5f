# SPDX-License-Identifier: Apache-2.0
"""The same cases over another transport: NIGHTJAR_TRANSPORT, or run.py --transport, is

    tcp     as the cases are written (the default)
    tls     the broker's listener has a certificate, and everybody uses TLS
    unix    clients come through a Unix socket beside the TCP port
    any     the listener is one for any protocol: raw clients come plain and in TLS by turns, programs
            with TLS
    ws      the broker's listener is one for WebSocket; programs that cannot do that come through a
            Unix socket beside it
    wss     the same with a certificate

A case that writes its listeners' protocol or certificates itself is left as it is. Whoever connects
asks here by port: dial() for sockets, tool_args() for mosquitto's programs, environment() for others.
"""
import atexit
import itertools
import os
import re
import shutil
import socket
import ssl
import tempfile
import threading

from harness import DEADLINE_S
from harness.certificates import Authority
from harness.websocket import Stream, WebSocket

NAMES = ("tcp", "tls", "unix", "any", "ws", "wss")
LISTENER = re.compile(r"^listener \{(port\d?)\} 127\.0\.0\.1[ \t]*$", re.MULTILINE)
BY_UNIX = ("unix", "ws", "wss")       # how programs come that are neither ours nor MQTT.js
OWN = re.compile(r"^(certfile|psk_hint|protocol|proxy_protocol)\b", re.MULTILINE)

_lock = threading.Lock()
_authority = None
_places = {}        # port -> the transport of who listens there, and a socket's path
_turns = itertools.count()


def name():
    return os.environ.get("NIGHTJAR_TRANSPORT") or "tcp"


def authority():
    """One for all brokers of this process."""
    global _authority
    with _lock:
        if _authority is None:
            folder = tempfile.mkdtemp(prefix="nightjar-test-ca-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            made = Authority(folder)
            made.server()
            made.make_readable()
            _authority = made
        return _authority


def _lines(port_name, folder):
    """What stands below, or beside, a listener."""
    if name() == "unix":
        return f"listener 0 {folder}/{port_name}.sock\n"
    if name() == "ws":
        return "protocol websockets\n"
    made = authority()
    protocol = {"any": "protocol any\n", "wss": "protocol websockets\n"}.get(name(), "")
    return f"{protocol}certfile {made.path('server.crt')}\nkeyfile {made.path('server.key')}\n"


def adapt(text, ports, folder):
    """A configuration with its listeners changed; ports: name -> number."""
    if name() == "tcp" or OWN.search(text):
        return text

    def with_transport(match):
        path = os.path.join(folder, match[1] + ".sock")
        _places[ports[match[1]]] = (name(), path)
        # Options that follow belong to the listener of the case, so another one stands before it.
        before = f"listener 0 {path}\n" if name() in ("ws", "wss") else ""
        return before + match[0] + "\n" + _lines(match[1], folder).rstrip("\n")
    return LISTENER.sub(with_transport, text)


class Skip(Exception):
    """Raised by a case that cannot run here; the text says why."""


class TlsSocket:
    """A TLS socket. recv_now() never waits: None when nothing has come that is for us."""

    def __init__(self, sock, context=None, server_name="localhost"):
        context = context or ssl.create_default_context(cafile=authority().certificate)
        self.sock = context.wrap_socket(sock, server_hostname=server_name)

    def recv_now(self, size):
        self.sock.setblocking(False)
        try:
            return self.sock.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLError:
            return b""

    def recv(self, size):
        self.sock.settimeout(DEADLINE_S)
        return self.sock.recv(size)

    def shutdown(self, how):
        raise Skip("Python's TLS cannot be closed one way")

    def sendall(self, data):
        self.sock.settimeout(DEADLINE_S)
        try:
            self.sock.sendall(data)
        except ssl.SSLError as err:
            raise BrokenPipeError(str(err)) from None

    def __getattr__(self, what):
        return getattr(self.sock, what)


def _connect(host, port, rcvbuf, deadline_s):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.settimeout(deadline_s)
    sock.connect((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def dial(host, port, rcvbuf=None, deadline_s=DEADLINE_S):
    """A connected socket, or what looks like one."""
    kind, path = _places.get(port, ("tcp", None))
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(deadline_s)
        sock.connect(path)
        return sock
    sock = _connect(host, port, rcvbuf, deadline_s)
    if kind in ("ws", "wss"):
        return Stream(WebSocket(sock=TlsSocket(sock) if kind == "wss" else sock))
    if kind == "tls" or (kind == "any" and next(_turns) % 2):
        return TlsSocket(sock)
    return sock


def tool_args(port):
    """How mosquitto's programs get to the broker at this port."""
    kind, path = _places.get(port, ("tcp", None))
    if kind in BY_UNIX:
        return ["--unix", path]
    if kind == "tcp":
        return ["-h", "127.0.0.1", "-p", str(port)]
    return ["-h", "127.0.0.1", "-p", str(port), "--cafile", authority().certificate]


def environment(port):
    """For test programs of our own: NIGHTJAR_CAFILE asks for TLS, NIGHTJAR_UNIX for a socket."""
    kind, path = _places.get(port, ("tcp", None))
    if kind in BY_UNIX:
        there = {"NIGHTJAR_UNIX": path}
        if kind == "wss":
            there["NODE_EXTRA_CA_CERTS"] = authority().certificate
        return there
    if kind == "tcp":
        return {}
    return {"NIGHTJAR_CAFILE": authority().certificate,
            "NODE_EXTRA_CA_CERTS": authority().certificate}


def url(port):
    """For MQTT.js."""
    kind, path = _places.get(port, ("tcp", None))
    if kind == "unix":
        return f"unix://{path}"
    if kind == "ws":
        return f"ws://127.0.0.1:{port}/mqtt"
    if kind == "wss":
        return f"wss://127.0.0.1:{port}/mqtt"
    return f"mqtt://127.0.0.1:{port}" if kind == "tcp" else f"mqtts://127.0.0.1:{port}"
