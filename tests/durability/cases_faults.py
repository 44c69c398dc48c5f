# SPDX-License-Identifier: Apache-2.0
"""A disk that fails while a crowd works: nothing that was acknowledged is lost, nothing is delivered
that was refused, nothing crashes, and who needs no store notices nothing."""
import errno
import statistics

from harness import DEADLINE_S, tmpfs
from harness.broker import BrokerError
from harness.devices import Witness
from harness.mqtt_raw import PUBACK, V5, Client, publish
from harness.runner import case
from shim import DSYNC, FDATASYNC, MSYNC, PWRITE, SIZE, WRITE, WRITEV
from torture import Torture
from torture_support import equal, persistent

SYNC_DELAY_MS = 1500


class Faulty(Torture):
    """One life with faults in it, one after the other, then kill -9, or a power cut (power=1.0), and a
    check. inject: functions of the shim, which may return one that undoes what it has done."""

    def __init__(self, *inject, seconds=1.0, power=None, durability="disk"):
        super().__init__(1, durability, power=power, faults=True)
        self.inject, self.seconds = inject, seconds
        self.waited = {}

    def _life(self):
        crowd = self.cast.crowd
        witnesses = [Witness(crowd, f"witness{qos}", qos) for qos in (0, 1)]
        self.cast.work(0.3)
        if not crowd.run_until(lambda: all(w.is_subscribed for w in witnesses), DEADLINE_S):
            raise BrokerError("the witnesses could not subscribe")
        for witness in witnesses:
            witness.took.clear()
        self.met = [self._fault(inject) for inject in self.inject]
        self.waited = {w.qos: w.waited() for w in witnesses}
        self.syncs, self.calls = self.shim["syncs"], self.shim["calls"]
        for witness in witnesses:
            witness.wants_up = False
            witness.drop()

    def _fault(self, inject):
        """How often it was met. When it is over all goes on by itself."""
        before = self.shim["faults"]
        undo = inject(self.shim)
        self.cast.work(self.seconds)
        if getattr(inject, "is_waited_for", False):
            self.cast.crowd.load = True
            self.cast.crowd.run_until(lambda: self._is_met(before), DEADLINE_S)
        self.shim.mend()
        if undo:
            undo()
        acked = self._acked()
        self.cast.crowd.load = True
        if not self.cast.crowd.run_until(lambda: self._acked() > acked, DEADLINE_S):
            raise BrokerError("nothing is acknowledged after the fault is over\n"
                              + self.broker.log_tail())
        return self.shim["faults"] - before

    def _is_met(self, before):
        return self.shim["faults"] > before

    def _acked(self):
        return sum(len(stream.acked) for stream in self.cast.streams)

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


class FullDisk(Faulty):
    """On a small disk of its own, of which somebody else takes the rest, and with a session that fetches
    nothing."""

    def __init__(self):
        super().__init__(self._fill, seconds=3.0)
        self.broker.config_template += "persistence_max_size 67108864\n"

    def _rounds(self):
        with tmpfs.mounted(self.broker.path("store"), "8m"):
            super()._rounds()

    def _fill(self, _shim):
        hoard = persistent(self.broker, "hoard")
        hoard.subscribe(("hoard", 1))
        hoard.leave()
        empty = tmpfs.fill(self.broker.path("store"))
        sender = Client(self.broker.port, V5, client_id="sender", name="sender")
        sender.open()
        while self._is_taken(sender):
            pass

        def undo():
            empty()
            Client(self.broker.port, V5, client_id="hoard", name="hoard").open(clean=True)
        return undo

    _fill.is_waited_for = True

    def _is_met(self, _before):
        return any("0x97" in what for what in self.cast.crowd.unexpected)

    @staticmethod
    def _is_taken(sender):
        packet_id = sender.new_id()
        sender.send(publish("hoard", bytes(8000), 1, packet_id, version=V5))
        return sender.expect(PUBACK, packet_id=packet_id).reason == 0


def _hold(*inject, seconds=1.0, power=None, durability="disk", is_met=None):
    return _judge(Faulty(*inject, seconds=seconds, power=power, durability=durability), is_met)


def _judge(run, is_met):
    run.run()
    print(f"# {run.sum()}, {run.met} faults", flush=True)
    if run.cast.violations:
        raise AssertionError(run.cast.violations.report())
    assert is_met(run) if is_met else all(run.met), f"a fault was never met: {run.met}"
    for qos, waited in run.waited.items():
        middle = statistics.median(waited)
        assert middle < SYNC_DELAY_MS / 2000, f"without the store at QoS {qos}: {middle:.3f} s"
    return run


def _waited_for(inject):
    """The fault is not over before it was met."""
    inject.is_waited_for = True
    return inject


def _failing(calls, kind, error=errno.EIO, times=3):
    """These calls fail so often."""
    @_waited_for
    def inject(shim):
        shim["only"] = calls
        shim.fail(kind, error, times)
    return inject


def _failing_all(kind, error=errno.EIO):
    return _waited_for(lambda shim: shim.fail(kind, error))


def _short(calls, times=2):
    @_waited_for
    def inject(shim):
        shim["only"] = calls
        shim["short_writes"] = times
    return inject


def _slow(calls):
    def inject(shim):
        shim["only"] = calls
        shim["sync_delay_ms"] = SYNC_DELAY_MS
    return inject


@case("Syncs of 1.5 s: only who needs the store waits for it")
def slow_sync(_t):
    _hold(_slow(FDATASYNC), _slow(DSYNC), seconds=3.0, is_met=lambda run: run.syncs > 0)


@case("A sync that fails once: nothing is acknowledged that it should have covered")
def sync_fails_once(_t):
    _hold(_failing(FDATASYNC, "sync", times=1), power=1.0)


@case("Writing the meta page fails once: it may be on the disk, or not")
def meta_fails_once(_t):
    _hold(_failing(DSYNC, "sync", times=1), power=1.0)


@case("Syncs that fail for a second")
def syncs_fail(_t):
    _hold(_failing_all("sync"), power=1.0)


@case("pwrite: no room, then an error, then half of the work")
def pwrite_fails(_t):
    _hold(_failing(PWRITE, "write", errno.ENOSPC), _failing(PWRITE, "write"), _short(PWRITE),
          seconds=0.5)


@case("writev: no room, then an error, then half of the work")
def writev_fails(_t):
    _hold(_failing(WRITEV, "write", errno.ENOSPC), _failing(WRITEV, "write"), _short(WRITEV),
          seconds=0.5)


@case("Half of the work, and a power cut at once")
def short_writes(_t):
    _hold(_short(PWRITE | WRITEV, 3), power=1.0)


@case("Writes that fail with EIO for a second")
def writes_fail(_t):
    _hold(_failing_all("write"))


@case("No room on the disk for a second")
def no_room(_t):
    _hold(_failing_all("write", errno.ENOSPC))


@case("A small disk that somebody else fills: below LMDB, not played by a library")
def full_tmpfs(_t):
    _judge(FullDisk(), lambda run: run._is_met(0))


@case("durability process: syncs of 1.5 s are nobody's, and what fails is known before it matters")
def process_faults(_t):
    _hold(_slow(FDATASYNC), _failing(FDATASYNC, "sync", times=1),
          _failing(PWRITE | WRITEV, "write", errno.ENOSPC), durability="process",
          is_met=lambda run: all(run.met[1:]))


@case("Every call that touches the store's files is one of those that these cases let fail")
def known_calls(_t):
    """No msync: LMDB writes by pwrite and writev, and a ring's mapping is the kernel's to write back.
    Whoever calls it later has to answer to a case here."""
    for durability in ("disk", "process"):
        run = _hold(lambda shim: shim.fail("grow", errno.EIO, 1), durability=durability,
                    is_met=lambda run: True)
        equal(run.calls & ~SIZE & ~WRITE, PWRITE | WRITEV | FDATASYNC | DSYNC)
        assert not run.calls & MSYNC
