# SPDX-License-Identifier: Apache-2.0
"""WebSocket by hand: frames that are right, and frames that are not.

WebSocket speaks frames; Stream carries MQTT bytes in them and looks like a socket to
harness.mqtt_raw.Connection.
"""
import base64
import hashlib
import os
import select
import socket
import struct
import time

from harness import DEADLINE_S

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class HandshakeError(Exception):
    """The answer was not 101; status and headers say what it was."""

    def __init__(self, response):
        super().__init__(f"no WebSocket: {response.status} {response.body!r}")
        self.response = response


class Response:
    """Of HTTP: status (None: the connection ended without one), headers in lower case, body."""

    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.raw = head
        words = lines[0].split(" ", 2)
        self.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else None
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name:
                self.headers[name.strip().lower()] = value.strip()
        self.body = body


def read_response(sock, deadline_s=DEADLINE_S, has_body=True):
    """One response, its body by Content-Length; the bytes behind it are returned as well."""
    end = time.monotonic() + deadline_s
    data = b""
    head = None
    while True:
        if head is None and b"\r\n\r\n" in data:
            head, data = data.split(b"\r\n\r\n", 1)
            response = Response(head, b"")
            want = int(response.headers.get("content-length", 0)) if has_body else 0
        if head is not None and len(data) >= want:
            response.body = data[:want]
            return response, data[want:]
        sock.settimeout(max(0.01, end - time.monotonic()))
        try:
            more = sock.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            return Response(head or b"", data), b""
        data += more


def request(port, text, host="127.0.0.1", deadline_s=DEADLINE_S, has_body=True):
    """Sends text as it is and reads one response."""
    with socket.create_connection((host, port), deadline_s) as sock:
        sock.sendall(text.encode("latin-1") if isinstance(text, str) else text)
        return read_response(sock, deadline_s, has_body)[0]


def handshake_text(path="/mqtt", key=None, method="GET", version="HTTP/1.1", **headers):
    """headers: with _ for -; None leaves one out, a list repeats it."""
    fields = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade",
              "Sec-WebSocket-Key": key or base64.b64encode(os.urandom(16)).decode(),
              "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "mqtt"}
    for name, value in headers.items():
        name = name.replace("_", "-")
        for known in list(fields):
            if known.lower() == name.lower():
                del fields[known]
        fields[name] = value
    lines = [f"{method} {path} {version}"]
    for name, value in fields.items():
        if isinstance(value, list):
            lines += [f"{name}: {one}" for one in value]
        elif value is not None:
            lines.append(f"{name}: {value}")
    return "\r\n".join(lines) + "\r\n\r\n"


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, length=None, mask=None):
    """One frame. length: what the header claims, instead of the truth."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + struct.pack(">H", size)
    else:
        head = bytes([first, bit | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    mask = mask or os.urandom(4)
    whole = (mask * (len(payload) // 4 + 1))[:len(payload)]
    mixed = (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big"))
    return head + mask + mixed.to_bytes(len(payload), "big")


class WebSocket:
    """A connection after its handshake. sock: an open (TLS) socket to use."""

    def __init__(self, port=None, host="127.0.0.1", sock=None, rcvbuf=None, **handshake):
        if sock is None:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            if rcvbuf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            sock.settimeout(DEADLINE_S)
            sock.connect((host, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(handshake_text(key=key, **handshake).encode("latin-1"))
        self.response, self.buffer = read_response(sock, has_body=True)
        if self.response.status != 101:
            sock.close()
            raise HandshakeError(self.response)
        wanted = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        if self.response.headers.get("sec-websocket-accept") != wanted:
            raise HandshakeError(self.response)
        self.sock.settimeout(DEADLINE_S)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.sock.close()

    def send(self, data, trickle=False):
        """Raw bytes, whole or one at a time."""
        try:
            if not trickle:
                self.sock.sendall(data)
                return
            for at in range(len(data)):
                self.sock.sendall(data[at:at + 1])
        except (BrokenPipeError, ConnectionResetError):
            pass

    def recv_frame(self, deadline_s=DEADLINE_S):
        """(opcode, payload, fin), or None when the connection has ended."""
        end = time.monotonic() + deadline_s
        while True:
            cut = self._cut()
            if cut:
                return cut
            self.sock.settimeout(max(0.01, end - time.monotonic()))
            try:
                data = self.sock.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.buffer += data

    def _cut(self):
        head = parse_header(self.buffer)
        if not head:
            return None
        start, length, opcode, fin = head
        if len(self.buffer) < start + length:
            return None
        payload = self.buffer[start:start + length]
        self.buffer = self.buffer[start + length:]
        return opcode, payload, fin


def parse_header(data):
    """(length of the header, of the payload, opcode, fin), or None: more is needed."""
    if len(data) < 2:
        return None
    if data[1] & 0x80:
        raise HandshakeError(Response(b"a server that masks", b""))
    length, start = data[1] & 0x7F, 2
    if length == 126:
        start = 4
        if len(data) < 4:
            return None
        length = struct.unpack(">H", data[2:4])[0]
    elif length == 127:
        start = 10
        if len(data) < 10:
            return None
        length = struct.unpack(">Q", data[2:10])[0]
    return start, length, data[0] & 0x0F, bool(data[0] & 0x80)


class Stream:
    """MQTT's bytes in frames, with the face of a socket. Each sendall() is one frame."""

    def __init__(self, web):
        self.web = web
        self.sock = web.sock
        self.left = 0
        self.is_data = False
        self.ended = False
        self.close_code = None

    def sendall(self, data):
        self.sock.sendall(frame(BINARY, bytes(data)))

    def recv(self, size):
        """Bytes, waited for; b"" at the end."""
        while True:
            data = self.recv_now(size)
            if data is not None:
                return data
            if not self.pending() and not readable(self.sock, DEADLINE_S):
                raise TimeoutError("nothing came")

    def recv_now(self, size):
        """Bytes; b"" at the end; None when nothing has come that is for us."""
        if not self.pending() and not self._more(size):
            return b"" if self.ended else None
        out = b""
        while self.web.buffer and not self.ended:
            if self.left == 0 and not self._next_frame():
                break
            take = self.web.buffer[:self.left]
            self.web.buffer = self.web.buffer[len(take):]
            self.left -= len(take)
            if self.is_data:
                out += take
        if out:
            return out
        return b"" if self.ended else None

    def _more(self, size):
        """Reads once. False: nothing came, or, with ended set, the connection has."""
        data = getattr(self.sock, "recv_now", self.sock.recv)(max(size, 65536))
        if data is not None:
            self.ended = not data
            self.web.buffer += data
        return bool(data)

    def _next_frame(self):
        """False: what is there is no frame of data."""
        head = parse_header(self.web.buffer)
        if not head:
            return False
        start, length, opcode, _ = head
        if opcode in (CLOSE, PING):
            return self._control(start, length, opcode)
        self.web.buffer = self.web.buffer[start:]
        self.left = length
        self.is_data = opcode in (BINARY, CONTINUATION)
        return True

    def _control(self, start, length, opcode):
        while len(self.web.buffer) < start + length:
            data = self.sock.recv(65536)
            if not data:
                break
            self.web.buffer += data
        payload = self.web.buffer[start:start + length]
        self.web.buffer = self.web.buffer[start + length:]
        if opcode == CLOSE:
            self.ended = True
            self.close_code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else None
            try:
                self.sock.sendall(frame(CLOSE, payload[:2]))
            except OSError:
                pass
            return False
        self.sock.sendall(frame(PONG, payload))
        return False

    def pending(self):
        """Is there something that no event will tell of?"""
        if self.web.buffer and (self.left or parse_header(self.web.buffer)):
            return len(self.web.buffer)
        return self.sock.pending() if hasattr(self.sock, "pending") else 0

    def fileno(self):
        return self.sock.fileno()

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def setsockopt(self, *args):
        self.sock.setsockopt(*args)

    def shutdown(self, how):
        self.sock.shutdown(how)

    def close(self):
        self.sock.close()


def readable(sock, timeout_s):
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
