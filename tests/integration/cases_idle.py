# SPDX-License-Identifier: Apache-2.0
"""A broker with nothing to do does nothing."""
import resource
import time

from harness.broker import BrokerError
from harness.mqtt_raw import V5, Client, connect
from harness.runner import case
from support import cpu_seconds, is_sanitized, nightjar_only, running, voluntary_switches

WINDOW_S = 4


def _raise_limit():
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _idle_clients(broker, count):
    _raise_limit()
    clients = [Client(broker.port, V5, client_id=f"idle{n}") for n in range(count)]
    for client in clients:
        client.send(connect(client.client_id, keep_alive=600))
    for client in clients:
        client.expect(2, reason=0)
    return clients


def _measure(broker, seconds):
    """(wake-ups, CPU seconds) in a stretch of time. The wait is what is measured."""
    switches, cpu = voluntary_switches(broker.pid), cpu_seconds(broker.pid)
    time.sleep(seconds)
    return voluntary_switches(broker.pid) - switches, cpu_seconds(broker.pid) - cpu


def _settles(broker, limit, deadline_s=30):
    """The first stretch with at most `limit` wake-ups: memory may be trimmed after the rush."""
    end = time.monotonic() + deadline_s
    while True:
        wakes, cpu = _measure(broker, WINDOW_S)
        if wakes <= limit:
            return wakes, cpu
        if time.monotonic() > end:
            raise BrokerError(f"{wakes} wake-ups and {cpu:.3f} s of CPU in {WINDOW_S} s of rest")


@case("With a thousand idle clients the broker does not wake up")
def idle(_t):
    nightjar_only()
    with running("sys_interval 0\nworker_threads 4\n") as broker:
        clients = _idle_clients(broker, 200 if is_sanitized() else 1000)
        # A sanitizer's own thread may wake.
        wakes, cpu = _settles(broker, 200 if is_sanitized() else 4)
        print(f"# idle: {wakes} wake-ups, {cpu * 1000:.2f} ms of CPU in {WINDOW_S} s", flush=True)
        assert is_sanitized() or cpu < 0.01, cpu
        clients[7].expect_alive()


@case("With $SYS every second an idle broker wakes a few times for each")
def idle_with_sys(_t):
    nightjar_only()
    with running("sys_interval 1\nworker_threads 2\n") as broker:
        clients = _idle_clients(broker, 100)
        wakes, cpu = _settles(broker, 400 if is_sanitized() else 20 * WINDOW_S)
        print(f"# idle with $SYS: {wakes} wake-ups, {cpu * 1000:.2f} ms of CPU in {WINDOW_S} s",
              flush=True)
        assert is_sanitized() or cpu < 0.1, cpu
        clients[7].expect_alive()
