# SPDX-License-Identifier: Apache-2.0
"""What two workers share while messages flow, counted by the probe, with 2, 8 and 32 workers."""
import load
import report
from harness.runner import case
from measure import lines_text, measure, probed_broker, program

# Named after the functions that make them. What crosses lies in lines of these: the message, the letter
# or the batch, the mailbox, the worker's handle to be woken.
CROSSING = {"message_create", "batch_post", "post_to", "mailbox_create", "runtime_create_workers"}
# The shared totals of memory: touched only when a worker has 64 KiB more or less than they know of.
SELDOM = {"total"}
SELDOM_FUNCTIONS = {"memory_carry_over_class", "peak_raise"}
# For each message that crosses: lines fetched from another worker's cache, atomic operations.
FETCHED_MOST = {0: 8.0, 1: 25.0}
ATOMICS_MOST = {0: 0.4, 1: 3.0}
# Lines of the heap in which something that crosses and something that does not lie side by side.
MIXED_MOST = 1.0
# With 32 workers letters hold fewer messages than with two, because each gets fewer at a time.
GROWTH_MOST = 1.3


def _names(group):
    return set(group.name.split(", "))


def _check(measured, holds, what):
    assert holds, (f"{what}: {measured.workers} workers, QoS {measured.qos}, {measured.kind}\n"
                   + lines_text(measured))


def _atomic_functions(seen):
    """Where workers have used atomic operations, apart from what is seldom."""
    functions = {seen.names.function(place) for thread, place in seen.atomics
                 if seen.is_worker(thread)}
    return functions - SELDOM_FUNCTIONS


def _check_everywhere(measured):
    _check(measured, measured.seen.lost == 0, "the probe's tables are full")
    _check(measured, measured.messages == measured.seen.counters["PUBLISH_SENT"], "other messages")
    _check(measured, not measured.locks(), "a worker takes a lock")


def _check_seldom(measured, group):
    _check(measured, group.transfers() <= measured.seen.counters["TURNS"],
           f"{group.name} is touched more than once a turn")


@case("Where no message crosses, publishing shares no line, takes no lock, is without atomic operations")
def nothing_is_shared(t):
    for qos in (0, 1):
        for workers in (2, 8, 32):
            measured = measure(workers, "same", qos, rounds=6, messages=8)
            _check_everywhere(measured)
            _check(measured, measured.seen.counters["LETTERS_POSTED"] == 0, "something crosses")
            for group in measured.seen.groups():
                _check(measured, _names(group) <= SELDOM, "a line is shared")
                _check_seldom(measured, group)
            _check(measured, not _atomic_functions(measured.seen), "an atomic operation")


def _check_crossing(measured):
    mixed = 0
    _check_everywhere(measured)
    _check(measured, measured.crossing == measured.messages, "not all cross")
    for group in measured.seen.groups():
        names = _names(group)
        if names <= SELDOM:
            _check_seldom(measured, group)
            continue
        _check(measured, names & CROSSING, f"{group.name} is shared")
        mixed += group.transfers() if names - CROSSING else 0
    _check(measured, measured.each(mixed) < MIXED_MOST, "too many mixed lines")
    _check(measured, measured.fetched() < FETCHED_MOST[measured.qos], "too many lines fetched")
    _check(measured, measured.atomics() < ATOMICS_MOST[measured.qos], "too many atomic operations")


@case("A message that crosses shares its own lines and its letter's, with 32 workers no more than with two")
def crossing(t):
    for qos in (0, 1):
        few, many = [measure(workers, "cross", qos, rounds=6) for workers in (2, 32)]
        for measured in (few, many):
            _check_crossing(measured)
        _check(many, many.fetched() < few.fetched() * GROWTH_MOST,
               f"with 2 workers {few.fetched():.2f} lines are fetched, with 32 {many.fetched():.2f}")


@case("The probe sees a subscription's lock, and the line that it writes")
def probe_sees(t):
    with probed_broker(2) as (broker, probe):
        probe.ask("begin")
        with load.Load(broker.path("mqtt.sock"), load.plan("cross", 2, 1), 0) as clients:
            clients.round()
            seen = report.Report(program(), probe.ask("end"))
    locks = {seen.names.function(place) for place in seen.events_of_workers("lock")}
    assert any("trie" in name for name in locks), locks
    shared = {name for group in seen.groups() for name in _names(group)}
    assert "topic_tree_create" in shared, shared
    assert seen.of_workers(seen.atomics, None) > 0
