# SPDX-License-Identifier: Apache-2.0
"""The short form of the torture, and that it can fail."""
from harness.oracle import Receiver, Retained, Stream, Violations
from harness.runner import case
from torture import Torture
from torture_support import shim_library

KILLS = 4

def _hold(torture):
    torture.run()
    print(f"# {torture.sum()}", flush=True)
    if torture.cast.violations:
        raise AssertionError(torture.cast.violations.report())


@case("kill -9 under load, durability disk: nothing that was acknowledged is lost")
def killed_disk(_t):
    _hold(Torture(KILLS, "disk"))


@case("kill -9 under load, durability process: nothing that was acknowledged is lost")
def killed_process(_t):
    _hold(Torture(KILLS, "process"))


@case("A power cut under load, durability disk: what no sync covered is not missed")
def power_cut(_t):
    shim_library()
    _hold(Torture(KILLS, "disk", power=0.5))


def _kinds(torture):
    torture.run()
    return set(torture.cast.violations.counts)


@case("A broker that keeps nothing is found out")
def forgets_everything(_t):
    assert "session lost" in _kinds(Torture(2, "none", check_chance=1.0))


@case("A disk that lies about its syncs is found out by a power cut")
def lying_disk(_t):
    """Then a broker that answers before its disk does would be as well."""
    shim_library()
    assert _kinds(Torture(10, "disk", power=1.0, check_chance=1.0, lies=True))


def _receiver(qos=2, **how):
    violations = Violations()
    receiver, stream = Receiver("r", violations, **how), Stream(1, "t", qos)
    stream.sent = 9
    receiver.entitle(stream)
    return receiver, stream, violations.counts


@case("The oracle sees what is lost, doubled, swapped, invented, refused and astray")
def oracle_sees(_t):
    receiver, stream, counts = _receiver()
    stream.acked.update({1, 2, 3})
    for message in (1, 3):
        receiver.saw(1, message)
    receiver.report_missing()
    assert counts == {"lost": 1}, counts
    receiver.saw(1, 3)
    receiver.saw(1, 2)
    receiver.saw(1, 10)
    stream.refused.add(5)
    receiver.saw(1, 5)
    receiver.saw(2, 1)
    assert counts == {"lost": 1, "twice at QoS 2": 1, "out of order": 2, "invented": 1,
                      "refused but delivered": 1, "astray": 1}, counts


@case("The oracle allows a second copy at QoS 1, and no second copy of what was settled at QoS 2")
def oracle_allows(_t):
    receiver, stream, counts = _receiver(qos=1)
    for message in (1, 2, 1, 2, 3):
        receiver.saw(1, message)
    assert not counts, counts
    receiver, stream, counts = _receiver()
    receiver.saw(1, 9)
    stream.settle()
    receiver.settle()
    receiver.saw(1, 9)
    assert counts == {"twice at QoS 2": 1}, counts


@case("The oracle of retained messages: the last acknowledged one or a later one")
def oracle_retained(_t):
    topic = Retained("r")
    for value in (b"1", b"2", b"", b"3"):
        topic.sent(value)
    assert topic.allows(b"1") and topic.allows(b"") and topic.allows(b"3")
    topic.acked(b"2")
    assert not topic.allows(b"1") and topic.allows(b"2") and topic.allows(b"")
    topic.acked(b"3")
    assert topic.has_to_exist() and not topic.allows(b"")
