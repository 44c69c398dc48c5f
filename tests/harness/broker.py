# SPDX-License-Identifier: Apache-2.0
"""A broker process for one test: started with a configuration text in a folder of its own.

    with Broker("max_inflight_messages 5\n") as broker:
        socket.create_connection(("127.0.0.1", broker.port))

The configuration may use {port}, {port2} ... {port9} (free TCP ports) and {dir} (the temporary
folder). A text without a listener gets one on 127.0.0.1:{port}; without allow_anonymous anonymous
clients are allowed. Leaving the `with` block stops the broker with SIGTERM and raises BrokerError
if it does not end with exit code 0 in time, or if a sanitizer wrote a report into its log.

Environment: NIGHTJAR_BIN (default build/bin/nightjar), NIGHTJAR_WORKERS (adds worker_threads),
NIGHTJAR_STORE (adds persistence with this durability: disk or process).
"""
import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from harness import DEADLINE_S, transport

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZER = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer"
                       r"|runtime error:)")
# A listener that a client of the case can reach on 127.0.0.1.
REACHABLE = re.compile(r"^listener (\d+)(?: 127\.0\.0\.1| localhost)?$", re.MULTILINE)


class BrokerError(Exception):
    """The broker did not start, did not stop, crashed, or a sanitizer reported something."""


def default_bin():
    return os.environ.get("NIGHTJAR_BIN") or os.path.join(ROOT, "build", "bin", "nightjar")


PORTS_FROM = 10000
_given_out = set()
_given_out_lock = threading.Lock()


def _ports():
    """Those below the range from which the kernel takes one for each connection that goes out. From
    that range a client somewhere could be given the port of a broker that is just being started, or
    started again; and a client that connects before the broker listens could reach itself."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        end = int(file.read().split()[0])
    if end < PORTS_FROM + 1000:
        return itertools.repeat(0)      # there are none: the kernel chooses
    ports = range(PORTS_FROM, end)
    begin = random.randrange(len(ports))        # another run on this machine begins elsewhere
    return itertools.cycle([*ports[begin:], *ports[:begin]])


_next_ports = None


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on at this moment, and that was given to nobody here."""
    global _next_ports
    with _given_out_lock:
        if _next_ports is None:
            _next_ports = _ports()
        while True:
            with socket.socket() as sock, contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", next(_next_ports)))
                port = sock.getsockname()[1]
                if port not in _given_out:
                    _given_out.add(port)
                    return port


def wait_until(predicate, deadline_s=DEADLINE_S, what="condition", poll_s=0.01):
    """Call predicate until it is true and return its value; BrokerError after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise BrokerError(f"waited {deadline_s} s in vain for: {what}")
        time.sleep(poll_s)


class Broker:
    """One broker process. Attributes: port, ports (name -> number), dir, log_path, pid."""

    def __init__(self, config="", binary=None, workers=None, args=(), env=None, files=None,
                 expect_exit=0, wrap=()):
        """files: name -> text, written into the folder before the start. wrap: a command to run
        the broker under, for example ("prlimit", "--nofile=64")."""
        self.binary = binary or default_bin()
        self.is_nightjar = "mosquitto" not in os.path.basename(self.binary)
        self.config_template = config
        self.workers = workers or os.environ.get("NIGHTJAR_WORKERS")
        self.durability = os.environ.get("NIGHTJAR_STORE")
        self.args = list(args)
        self.extra_env = dict(env or {})
        self.files = dict(files or {})
        self.expect_exit = expect_exit
        self.wrap = list(wrap)
        self.proc = None
        self.dir = None
        self.ports = {}
        self.port = None
        self.log_path = None

    # -- life ---------------------------------------------------------------------------------

    def start(self):
        """Start and wait until the first port listens. Tries again if a free port was taken."""
        for attempt in range(5):
            self._prepare()
            self._spawn()
            try:
                self._wait_listening()
                return self
            except BrokerError:
                log = self.log()
                self.kill()
                if attempt == 4 or "in use" not in log.lower():
                    self._remove_dir()
                    raise
                self._remove_dir()
        raise AssertionError("unreachable")

    def stop(self, deadline_s=DEADLINE_S):
        """SIGTERM, wait, then check the exit code and the log."""
        if self.proc is None:
            return
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        try:
            self.proc.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BrokerError(f"broker did not end within {deadline_s} s of SIGTERM\n"
                              + self.log_tail()) from None
        self.check()

    def check(self):
        """After the process has ended: exit code and sanitizer reports."""
        code = self.proc.returncode
        self.proc = None
        self.check_log()
        if self.expect_exit is not None and code != self.expect_exit:
            raise BrokerError(f"broker ended with {code}, expected {self.expect_exit}\n"
                              + self.log_tail())

    def check_log(self):
        found = SANITIZER.search(self.log())
        if found:
            log = self.log()
            raise BrokerError("sanitizer report in the broker's log:\n"
                              + log[max(0, found.start() - 300):found.start() + 6000])

    def restart(self):
        """Stop and start again with the same folder, files and ports."""
        self.stop()
        self.start_again()

    def crash(self, config=None):
        """SIGKILL, and start again with the same folder, files and ports. config: another text."""
        self.kill()
        self.check_log()
        self.start_again(config)

    def start_again(self, config=None):
        """After stop() or kill(): the same folder, files and ports. config: another text."""
        if config is not None:
            self.config_template = config
            self.write("broker.conf", self.config_text())
        self._spawn()
        self._wait_listening()

    def reload(self):
        self.proc.send_signal(signal.SIGHUP)

    def kill(self):
        """SIGKILL, without checks."""
        if self.proc is not None:
            self.proc.kill()
            self.proc.wait()
            self.proc = None

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.stop()
            else:
                self._stop_after_failure()
        finally:
            self.kill()
            self._remove_dir()

    def _stop_after_failure(self):
        """The test's own failure must not be hidden by a second one, but a crash explains it."""
        try:
            self.stop()
        except BrokerError as err:
            print(f"# broker: {err}", flush=True)

    # -- what tests look at -------------------------------------------------------------------

    @property
    def pid(self):
        return self.proc.pid

    def is_running(self):
        return self.proc is not None and self.proc.poll() is None

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        """(Re)write a file in the broker's folder; placeholders are filled in. Who reads it meanwhile
        finds the old text or the new one."""
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        fresh = self.path(name) + ".fresh"
        with open(fresh, "w", encoding="utf-8") as out:
            out.write(self._fill(text))
        os.chmod(fresh, 0o644)
        os.replace(fresh, self.path(name))

    def log(self):
        """stdout and stderr of the broker so far."""
        if not self.log_path or not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def log_tail(self, lines=40):
        return "\n".join("    | " + line for line in self.log().splitlines()[-lines:])

    def wait_log(self, pattern, deadline_s=DEADLINE_S):
        """Wait until the log matches the regular expression; returns the match."""
        compiled = re.compile(pattern, re.MULTILINE)
        return wait_until(lambda: compiled.search(self.log()), deadline_s,
                          f"/{pattern}/ in the broker's log")

    # -- inner parts --------------------------------------------------------------------------

    def _prepare(self):
        self.dir = tempfile.mkdtemp(prefix="nightjar-test-")
        os.chmod(self.dir, 0o777)       # a broker started as root drops its rights
        self.log_path = os.path.join(self.dir, "broker.log")
        names = ["port"] + [f"port{n}" for n in range(2, 10)]
        self.ports = {name: free_port() for name in names
                      if name == "port" or "{%s}" % name in self._all_text()}
        self.port = self.ports["port"]
        for name, text in self.files.items():
            self.write(name, text)
        self.write("broker.conf", self.config_text())

    def _all_text(self):
        return self.config_template + "".join(self.files.values()) + "".join(self.args)

    def _fill(self, text):
        for name, number in self.ports.items():
            text = text.replace("{%s}" % name, str(number))
        return text.replace("{dir}", self.dir)

    def config_text(self):
        text = self.config_template
        words = {line.split()[0] for line in text.splitlines() if line.split()}
        head = []
        if not words & {"listener", "port"}:
            head.append("listener {port} 127.0.0.1")
        if "per_listener_settings" in words:
            line = next(li for li in text.splitlines() if li.startswith("per_listener_settings"))
            text = text.replace(line, "")
            head.insert(0, line)
        if "allow_anonymous" not in words:
            head.append("allow_anonymous true")
        if not self.is_nightjar and "user" not in words:
            head.append("user root")
        if self.is_nightjar and self.workers and "worker_threads" not in words:
            head.append(f"worker_threads {self.workers}")
        if self.is_nightjar and self.durability and "persistence" not in words:
            head += ["persistence true", "persistence_location {dir}/store",
                     f"durability {self.durability}"]
        return transport.adapt("\n".join(head) + "\n" + text, self.ports, self.dir)

    def _spawn(self):
        if not os.path.exists(self.binary):
            raise BrokerError(f"no broker at {self.binary}; build it, or set NIGHTJAR_BIN")
        env = dict(os.environ)
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        env.update(self.extra_env)
        command = self.wrap + [self.binary, "-c", self.path("broker.conf")]
        command += [self._fill(arg) for arg in self.args]
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=log, env=env, cwd=self.dir)

    def _listening_ports(self):
        """All that a client of the case may connect to at once; they open one after the other."""
        found = REACHABLE.findall(self._fill(self._all_text()))
        return [self.port] + [int(port) for port in found if int(port) not in (0, self.port)]

    def _listening_paths(self):
        """The Unix sockets among them; there may be a file of that name before they listen."""
        return re.findall(r"^listener 0 (\S+)", self._fill(self.config_template), re.MULTILINE)

    def _wait_listening(self):
        end = time.monotonic() + DEADLINE_S
        while True:
            if self.proc.poll() is not None:
                raise BrokerError(f"broker ended with {self.proc.returncode} at its start\n"
                                  + self.log_tail())
            try:
                for port in self._listening_ports():
                    socket.create_connection(("127.0.0.1", port), 1).close()
                for path in self._listening_paths():
                    with socket.socket(socket.AF_UNIX) as sock:
                        sock.connect(path)
                return
            except OSError:
                pass
            if time.monotonic() > end:
                raise BrokerError(f"broker does not listen after {DEADLINE_S} s\n"
                                  + self.log_tail())
            time.sleep(0.01)

    def _remove_dir(self):
        if self.dir and not os.environ.get("NIGHTJAR_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)
