# SPDX-License-Identifier: Apache-2.0
"""A disk that fails while a crowd works: nothing that was acknowledged is lost, nothing is delivered
that was refused, nothing crashes, and who needs no store notices nothing."""
import errno
import statistics

from devices import Witness
from harness.runner import case
from torture import Torture

SYNC_DELAY_MS = 500


class Faulty(Torture):
    """One life with a fault in it, then kill -9, or a power cut (power=1.0), and a check."""

    def __init__(self, inject, seconds=1.0, power=None):
        super().__init__(1, "disk", power=power, faults=True)
        self.inject, self.seconds = inject, seconds
        self.waited = {}

    def _life(self):
        crowd = self.cast.crowd
        witnesses = [Witness(crowd, f"witness{qos}", qos) for qos in (0, 1)]
        self.cast.work(0.3)
        crowd.run_until(lambda: all(w.is_subscribed for w in witnesses), 20)
        for witness in witnesses:
            witness.took.clear()
        self.inject(self.shim)
        self.cast.work(self.seconds)
        self.waited = {w.qos: w.waited() for w in witnesses}
        self.faults = self.shim["faults"]
        self.syncs = self.shim["syncs"]
        self.shim.mend()
        self.cast.work(0.3)
        for witness in witnesses:
            witness.wants_up = False
            witness.drop()

    def _rounds(self):
        self._begin()
        self._life()
        # What goes on by itself once the disk works again.
        self.cast.check()
        self.cast.work(0.2)
        self._kill()
        self.broker._spawn()
        self._check()
        if not self.cast.violations:
            self.broker.stop()


def _hold(inject, seconds=1.0, power=None, is_met=None):
    run = Faulty(inject, seconds, power).run()
    print(f"# {run.sum()}, {run.faults} faults", flush=True)
    if run.cast.violations:
        raise AssertionError(run.cast.violations.report())
    assert is_met(run) if is_met else run.faults, "the fault was never met"
    for qos, waited in run.waited.items():
        middle = statistics.median(waited)
        assert middle < SYNC_DELAY_MS / 2000, f"without the store at QoS {qos}: {middle:.3f} s"


@case("Syncs of 500 ms: only who needs the store waits for it")
def slow_sync(_t):
    def inject(shim):
        shim["sync_delay_ms"] = SYNC_DELAY_MS

    _hold(inject, seconds=2.0, is_met=lambda run: run.syncs > 0)


@case("A sync that fails once: nothing is acknowledged that it should have covered")
def sync_fails_once(_t):
    _hold(lambda shim: shim.fail("sync", errno.EIO, 1), power=1.0)


@case("Syncs that fail for a second")
def syncs_fail(_t):
    _hold(lambda shim: shim.fail("sync", errno.EIO), power=1.0)


@case("Writes that fail with EIO for a second")
def writes_fail(_t):
    _hold(lambda shim: shim.fail("write", errno.EIO))


@case("No room on the disk for a second")
def no_room(_t):
    _hold(lambda shim: shim.fail("write", errno.ENOSPC))


@case("Writes that do only half of their work")
def short_writes(_t):
    def inject(shim):
        shim["short_writes"] = 3

    _hold(inject, power=1.0)
