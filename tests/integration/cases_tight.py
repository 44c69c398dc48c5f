# SPDX-License-Identifier: Apache-2.0
"""tests/stress/tight.py: a store so small that it is busy or full most of the time. NIGHTJAR_STRESS_SECONDS
lengthens it, as ./dev stress does with 60: then the disk fails as well, and each run begins elsewhere."""
import os
import time

from harness.runner import case
from stress.tight import Tight
from support import nightjar_only

ASKED_S = float(os.environ.get("NIGHTJAR_STRESS_SECONDS", "0"))
SHORT_S = 2.5


def _hold(durability, mib, seed, **how):
    nightjar_only()
    _is_held(Tight(ASKED_S, durability, mib, **how) if ASKED_S else Tight(SHORT_S, durability, mib, seed,
                                                                         **how))


def _is_held(run):
    run.run()
    print(f"# {run.sum()}", flush=True)
    if run.violations:
        raise AssertionError(run.violations.report())


@case("A store that is busy: everybody is answered, and nobody refused as if it were full")
def small_and_busy(_t):
    _hold("disk", 4, 2, away_s=0.05)


@case("A store that is busy, full, and drained again: everybody is answered, and nothing lost")
def small_and_full(_t):
    _hold("process", 4, 9)


class SlowlyDrained(Tight):
    """The disk is slow when what has gathered goes out, for longer than nothing may go on."""

    idle_s = 3.0
    slow_until = 0.0

    def _end(self):
        self.shim["sync_delay_ms"] = 40
        self.slow_until = time.monotonic() + 2 * self.idle_s
        super()._end()

    def left(self):
        if time.monotonic() > self.slow_until:
            self.shim.mend()
        return super().left()

    def _change_the_disk(self):
        """It is well, till then."""


@case("A small store on a disk that is slow: what takes long to arrive is not called lost")
def small_and_slow(_t):
    nightjar_only()
    _is_held(SlowlyDrained(SHORT_S, "disk", 16, 5, faults=True))


if ASKED_S:
    @case("The same with durability disk")
    def small_and_full_disk(_t):
        _hold("disk", 4, None)

    @case("The same crowd without a store")
    def small_and_nothing_kept(_t):
        _hold("none", 4, None)

    @case("A small store on a disk that is slow, or fails, now and then: everybody is answered")
    def small_and_faulty(_t):
        _hold("disk", 8, None, faults=True)

    @case("The same with durability process")
    def small_and_faulty_process(_t):
        _hold("process", 8, None, faults=True)
