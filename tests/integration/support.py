# SPDX-License-Identifier: Apache-2.0
"""What the integration cases share: programs with deadlines, and a broker whose log is shown when
its case fails."""
import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time

from harness import DEADLINE_S, transport
from harness.broker import Broker, BrokerError, ROOT, SANITIZER, default_bin
from harness.runner import Skip

TOOL_VERSION = {3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}


def is_nightjar():
    return "mosquitto" not in os.path.basename(default_bin())


def nightjar_only():
    """For what mosquitto does otherwise: the cases are tried against it too."""
    if not is_nightjar():
        raise Skip("mosquitto does this otherwise")


def is_sanitized():
    """A sanitizer's build is several times slower and takes more memory: no figures from it."""
    with open(default_bin(), "rb") as program:
        data = program.read()
    return b"__tsan_init" in data or b"__asan_init" in data


def is_thread_sanitized():
    """Little address space is left there."""
    with open(default_bin(), "rb") as program:
        return b"__tsan_init" in program.read()


def need(program):
    if not shutil.which(program):
        raise Skip(f"{program} is not installed")
    return program


def test_program(folder, name):
    """A program from tests/<folder>/, built beside the broker."""
    build = os.path.dirname(os.path.dirname(os.path.realpath(default_bin())))
    places = [os.environ.get("NIGHTJAR_TEST_PROGRAMS", ""), os.path.join(build, "tests"),
              os.path.join(ROOT, "build", "release", "tests")]
    for place in places:
        path = os.path.join(place, folder, name)
        if os.path.exists(path):
            return path
    raise BrokerError(f"{name} was not built: looked in {', '.join(filter(None, places))}")


def mosquitto_file(*path):
    """A file of mosquitto's unpacked package."""
    folder = os.environ.get("NIGHTJAR_MOSQUITTO") or os.path.join(ROOT, "build", "mosquitto")
    full = os.path.join(folder, *path)
    if not os.path.exists(full):
        raise Skip(f"mosquitto's package is not unpacked in {folder}")
    return full


@contextlib.contextmanager
def running(config="", **kwargs):
    """A broker of the case's own; when the case fails the end of the broker's log is printed."""
    with Broker(config, **kwargs) as broker:
        try:
            yield broker
        except Skip:
            raise
        except Exception:
            print("# the log of the broker in the case that fails:\n" + broker.log_tail(60),
                  flush=True)
            raise


def run(*command, expect=0, stdin=None, deadline_s=DEADLINE_S, env=None, cwd=None):
    """Run a program to its end; its stdout. expect: the exit code, or None for any."""
    done = subprocess.run([str(part) for part in command], input=stdin, capture_output=True,
                          text=True, errors="replace", timeout=deadline_s, check=False, cwd=cwd,
                          env={**os.environ, **(env or {})})
    if expect is not None and done.returncode != expect:
        raise BrokerError(f"{' '.join(map(str, command))} ended with {done.returncode}, not "
                          f"{expect}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def copy_program(path, folder):
    """Its copy in the folder. By a process of its own: what another thread starts while this one
    writes would hold the file open for writing, and nobody could run it until then."""
    run("cp", path, folder)
    return os.path.join(folder, os.path.basename(path))


def run_both(*command, expect=0, deadline_s=DEADLINE_S, env=None, cwd=None):
    """As run(), but stdout and stderr together."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                          errors="replace", timeout=deadline_s, check=False, cwd=cwd,
                          env={**os.environ, **(env or {})})
    if expect is not None and done.returncode != expect:
        raise BrokerError(f"{' '.join(map(str, command))} ended with {done.returncode}, not "
                          f"{expect}:\n{done.stdout[-3000:]}")
    return done.stdout


def tool(name, port, version, *args):
    """The command line of a mosquitto client tool."""
    return [need(name), *transport.tool_args(port), "-V", TOOL_VERSION[version],
            *map(str, args)]


def pub(port, *args, version=5, expect=0, stdin=None):
    return run(*tool("mosquitto_pub", port, version, *args), expect=expect, stdin=stdin)


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {str(got)[:1500]}, wanted {str(wanted)[:1500]}")


class Sub:
    """A mosquitto_sub in the background. Each message is a line: topic|qos|retain|payload, or what
    `form` says. `with Sub(port, "-t", "a/#") as sub:` waits until it is subscribed."""

    def __init__(self, port, *args, version=5, form="%t|%q|%r|%p", subscribed=True, command=None):
        """command: how to get to the broker, where `port` does not say it."""
        command = [*(command or tool("mosquitto_sub", port, version)), *map(str, args)]
        command += ["-d", "-F", "MESSAGE " + form]
        # Its output goes through a pipe, where the C library would keep it back otherwise.
        self.proc = subprocess.Popen(["stdbuf", "-oL"] + command, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                     errors="replace")
        self.output = []
        self.messages = queue.Queue()
        self.is_subscribed = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if subscribed and not self.is_subscribed.wait(DEADLINE_S):
            self.kill()
            raise BrokerError("mosquitto_sub was not subscribed:\n" + self.tail())

    def _read(self):
        for line in self.proc.stdout:
            line = line.rstrip("\n")
            if line.startswith("MESSAGE "):
                self.messages.put(line[len("MESSAGE "):])
                continue
            self.output.append(line)
            if line.startswith("Subscribed (mid"):
                self.is_subscribed.set()

    def message(self, deadline_s=DEADLINE_S):
        try:
            return self.messages.get(timeout=deadline_s)
        except queue.Empty:
            raise BrokerError("mosquitto_sub got no message:\n"
                              + self.tail()) from None

    def tail(self):
        return "\n".join(self.output[-12:])

    def take(self, count):
        return [self.message() for _ in range(count)]

    def rest(self):
        """Messages that came and were not taken, once the program has ended."""
        self.reader.join(DEADLINE_S)
        return list(self.messages.queue)

    def wait(self, expect=0, deadline_s=DEADLINE_S):
        """Until it ends by itself (-C, -W)."""
        code = self.proc.wait(deadline_s)
        if expect is not None and code != expect:
            raise BrokerError(f"mosquitto_sub ended with {code}:\n" + self.tail())
        self.reader.join(DEADLINE_S)
        return code

    def stop(self):
        """It sends DISCONNECT and ends. Its signal handler takes the library's lock, and so can
        hang when a message is just being handled."""
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(3)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self):
        """Without a DISCONNECT."""
        self.proc.kill()
        self.proc.wait(DEADLINE_S)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            self.kill()


class Nobody:
    """A user without rights, to run programs as when the tests run as root."""

    PREFIX = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")
    need("setpriv")


def proc_status(pid, field):
    """A number from /proc/PID/status, such as VmRSS (in KiB)."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        found = re.search(rf"^{field}:\s+(\d+)", status.read(), re.MULTILINE)
    return int(found.group(1))


def task_sum(pid, read):
    """Sum of read(folder of the thread) over all threads of a process."""
    total = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += read(f"/proc/{pid}/task/{tid}")
    return total


def cpu_seconds(pid):
    def one(folder):
        with open(folder + "/schedstat", encoding="ascii") as stat:
            return int(stat.read().split()[0])
    return task_sum(pid, one) / 1e9


def _set_policy(threads, policy, priority):
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(thread, policy, os.sched_param(priority))


@contextlib.contextmanager
def before_all_others(pid):
    """For what is measured in time: the broker, this thread and the programs that it starts go before what
    else the machine has to do. Yields False where the system does not allow that."""
    threads = [0, *map(int, os.listdir(f"/proc/{pid}/task"))]
    try:
        _set_policy(threads, os.SCHED_RR, 1)
        is_allowed = True
    except PermissionError:
        is_allowed = False
    try:
        yield is_allowed
    finally:
        _set_policy(threads, os.SCHED_OTHER, 0)


def voluntary_switches(pid):
    def one(folder):
        with open(folder + "/status", encoding="ascii", errors="replace") as status:
            return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(),
                                 re.MULTILINE).group(1))
    return task_sum(pid, one)


def sys_value(port, topic, deadline_s=DEADLINE_S, **login):
    """The retained message of a $SYS topic as text."""
    args = ["-t", topic, "-C", "1", "-W", str(int(deadline_s))]
    for option, value in login.items():
        args += [option, value]
    return run(*tool("mosquitto_sub", port, 5, *args), deadline_s=deadline_s + 5).strip()


def wait_exit(proc, deadline_s=DEADLINE_S):
    try:
        return proc.wait(deadline_s)
    except subprocess.TimeoutExpired:
        proc.kill()
        proc.wait()
        raise BrokerError(f"the program did not end within {deadline_s} s") from None


def start_and_fail(config, *args, wrap=(), files=None, binary=None):
    """A start that has to fail: (exit code, output)."""
    import tempfile
    with tempfile.TemporaryDirectory(prefix="nightjar-test-") as folder:
        os.chmod(folder, 0o755)
        for name, text in (files or {}).items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
                out.write(text.replace("{dir}", folder))
        path = os.path.join(folder, "broker.conf")
        with open(path, "w", encoding="utf-8") as out:
            out.write(config.replace("{dir}", folder))
        started = time.monotonic()
        done = subprocess.run([*wrap, binary or default_bin(), "-c", path, *args],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=DEADLINE_S, check=False, cwd=folder)
        if SANITIZER.search(done.stdout):
            raise BrokerError("sanitizer report:\n" + done.stdout[-6000:])
        return done.returncode, done.stdout.replace(folder, "{dir}"), time.monotonic() - started


__all__ = [name for name in dir() if not name.startswith("_")]
