# SPDX-License-Identifier: Apache-2.0
"""The short form of the steady load: everything that it is made of happens, and growth is seen."""
from harness.runner import case
from steady import MIB, Steady, growth

SECONDS = 8
HAPPENS = ("acknowledged", "received", "received before it expired", "retained", "deleted",
           "subscriptions changed", "sessions that expire", "wills")
COUNTED = ("commits", "queued", "expired", "sessions_expired", "wills")


def _missing(steady):
    if not steady.samples:
        return COUNTED
    return ([kind for kind in HAPPENS if not steady.cast.tally[kind]]
            + [name for name in COUNTED if not steady.samples[-1][name]])


@case("A steady load queues, drains, retains and expires, and the file stays small")
def steady_load(_t):
    steady = Steady(SECONDS, pace=0.2, is_enough=lambda steady: not _missing(steady)).run()
    print(f"# {steady.sum()}", flush=True)
    assert not steady.cast.violations, steady.cast.violations.report()
    assert not steady.cast.tally["refused"], steady.sum()
    last = steady.samples[-1]
    assert not _missing(steady), f"did not happen: {_missing(steady)}: {steady.sum()}; {last}"
    assert last["used_bytes"] <= last["file_bytes"] <= 64 * MIB, last


def _samples(bytes_at):
    names = ("file_bytes", "file_disk_bytes", "rss_anon_bytes", "rss_file_bytes")
    return [{"seconds": s, **dict.fromkeys(names, 20 * MIB), "rss_anon_bytes": bytes_at(s)}
            for s in range(600)]


@case("Memory that grows by a twentieth in the last third is found out, and one that swings is not")
def growth_is_seen(_t):
    assert all(is_flat for *_, is_flat in growth(_samples(lambda s: (20 + s % 20 / 10) * MIB)))
    grown = growth(_samples(lambda s: 20 * MIB + s * MIB // 200))
    assert [name for name, *_, is_flat in grown if not is_flat] == ["rss_anon_bytes"], grown
