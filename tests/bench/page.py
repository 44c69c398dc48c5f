# SPDX-License-Identifier: Apache-2.0
"""docs/benchmarks.md, and the tables that ./dev bench prints, from the figures of a run."""
import os
import statistics

import brokers
import plots
import rows

FOLDER = os.path.join(brokers.ROOT, "docs")
PERCENTILES = ("p50", "p99", "p99.9", "p99.99")


def figures(data, run, name, phase, field):
    """One figure a round."""
    return [entry[field] for report in data["results"].get(run, {}).get(name, ())
            for entry in report["phases"] if entry["name"] == phase and field in entry]


def median(data, run, name, phase, field="broker_cpu_us_each"):
    found = figures(data, run, name, phase, field)
    return statistics.median(found) if found else None


def _number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _times(value, base):
    return f"{value / base:.2f}" if value and base else ""


def _table(head, lines):
    lines = [list(map(str, line)) for line in lines]
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]

    def show(cells):
        first = cells[0].ljust(widths[0])
        return "| " + " | ".join([first] + [c.rjust(w) for c, w in zip(cells[1:], widths[1:])]) \
            + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2)] + ["-" * (w + 1) + ":" for w in widths[1:]]) + "|"
    return "\n".join([show(head), rule, *map(show, lines)])


def _rates(chosen):
    return [rows.Row(row.title, row.run, row.phase, "per_second") for row in chosen]


def cost_table(data, chosen, names, cheaper_only=False):
    """Medians, and how many times the relay's and how many times cheaper than mosquitto."""
    with_ratios = chosen[0].field == "broker_cpu_us_each" and "mosquitto" in names
    lines = []
    for row in chosen:
        values = {name: median(data, row.run, name, row.phase, row.field) for name in names}
        if not any(value is not None for value in values.values()):
            continue
        line = [row.title] + [_number(values[name]) for name in names]
        if with_ratios and not cheaper_only:
            line.append(_times(values.get("nightjar"), values.get("relay")))
        if with_ratios:
            line.append(_times(values.get("mosquitto"), values.get("nightjar")))
        lines.append(line)
    head = ["", *names]
    if with_ratios:
        head += ["x cheaper"] if cheaper_only else ["x relay", "x cheaper"]
    return _table(head, lines) if lines else ""


def spread_table(data, names):
    """The lowest and the highest round of what the medians hide most."""
    lines = []
    for note, chosen in (("", rows.COST_ROWS), (", MQTT 5", rows.COST_ROWS_5)):
        for row in chosen:
            if not row.title.startswith("one-to-one"):
                continue
            found = [figures(data, row.run, name, row.phase, row.field) for name in names]
            lines.append([row.title + note]
                         + [f"{_number(min(f))} to {_number(max(f))}" if f else "" for f in found])
    return _table(["", *names], lines)


def latency_table(data, names, run="latency", phase="deliver"):
    head, lines = ["", "messages/s", *PERCENTILES, "waited"], []
    for name in names:
        phases = [entry for report in data["results"].get(run, {}).get(name, ())
                  for entry in report["phases"] if entry["name"] == phase]
        if phases:
            lines.append([name, f"{statistics.median(p['per_second'] for p in phases):,.0f}"]
                         + [_number(statistics.median(p["latency_us"][q] for p in phases))
                            for q in PERCENTILES] + [_number(_waited_us(phases))])
    if not any(line[-1] for line in lines):     # a bystander shares its processors
        lines, head = [line[:-1] for line in lines], head[:-1]
    return _table(head, lines) if lines else ""


def _waited_us(phases):
    """How long broker and generator could have run, and had no processor."""
    waits = [phase["broker_waited_us"] + phase["own_waited_us"] for phase in phases
             if "broker_waited_us" in phase]
    return statistics.median(waits) if waits else None


def latency_words(data):
    """What "waited" means, and how it was kept small."""
    if data.get("is_undisturbed"):
        return """\
Broker and generator ran in the real-time class, for half a second at a time, so that other programs
hardly came between: "waited" is how long their threads could have run and had no processor
([decision 46](decisions/0046-where-the-tail-of-the-latency-comes-from.md))."""
    return """\
"Waited" is how long threads of broker and generator could have run and had no processor, because the
system did not let them into the real-time class: the tail is then other programs'
([decision 46](decisions/0046-where-the-tail-of-the-latency-comes-from.md))."""


def cores_table(data):
    """What a message costs on two workers; with half of the messages crossing, the mean of both."""
    costs = {row.title: median(data, row.run, "nightjar", row.phase) for row in rows.CORES_ROWS}
    titles = list(costs)
    one, apart, same, cross = costs.values()
    if one is None or same is None or cross is None:
        return ""
    costs = {**{title: costs[title] for title in titles[:3]},
             "two workers, half of the messages cross": (same + cross) / 2, titles[3]: cross}
    lines = [[title, _number(cost), _times(cost, one), _times(cost, apart)]
             for title, cost in costs.items() if cost]
    return _table(["", "nightjar", "x one worker", "x two brokers"], lines)


def own_cost_table(data, names):
    """What the generator spent itself, to show that it was not the limit."""
    lines = []
    for row in rows.COST_ROWS[:3]:
        lines.append([row.title] + [_number(median(data, row.run, name, row.phase,
                                                   "own_cpu_us_each")) for name in names])
    return _table(["", *names], lines)


def online_table(data):
    """A store beside none."""
    lines = []
    for row in rows.ONLINE_ROWS:
        values = [median(data, row.run, name, row.phase, row.field) for name in rows.ONLINE]
        if any(values):
            lines.append([row.title, *map(_number, values)])
    return _table(["", *rows.ONLINE], lines) if lines else ""


def store_words(data):
    """What store_figures.py has measured, and what it means."""
    store, parts = data.get("store", {}), []
    syncs = store.get("store-syncs")
    on_disk, process, memory = (median(data, "store-online", name, "deliver", "per_second")
                                for name in ("nightjar", "process", "memory"))
    if syncs and on_disk and process and memory:
        parts.append(f"One fdatasync for each message would give {syncs:,.0f} messages a second on this disk: "
                     f"`durability disk` gives {on_disk / syncs:,.0f} times as many, and "
                     f"{on_disk / process * 100:.0f} % of `process`, which gives "
                     f"{process / memory * 100:.0f} % of what a broker without a store does.")
    crowd = store.get("store-crowd")
    if crowd:
        parts.append(f"One message to {crowd['sessions']:,} sessions that are away writes "
                     f"{crowd['queue_bytes_each']:.1f} bytes to the disk for each of them; that each of them "
                     f"acknowledges it, {crowd['acknowledge_bytes_each']:.0f} bytes.")
    start = store.get("store-start")
    if start:
        parts.append(f"After a `kill -9`, a store with {start['retained']:,} retained messages and "
                     f"{start['sessions']:,} sessions with a subscription and ten queued messages each is read "
                     f"back in {statistics.median(start['seconds']):.1f} s by two workers (until a CONNECT that "
                     f"came at once is answered).")
    return "\n\n".join(parts)


def tables(data, names):
    """What the terminal shows."""
    parts = [
        ("CPU time of the broker, us each (MQTT 3.1.1)", cost_table(data, rows.COST_ROWS, names)),
        ("The same, MQTT 5", cost_table(data, rows.COST_ROWS_5, names)),
        ("Other transports, us each", cost_table(data, rows.TRANSPORT_ROWS, names)),
        ("With persistence, us each",
         cost_table(data, rows.STORE_ROWS, list(rows.KEEPERS), True)),
        ("The same, each second", cost_table(data, _rates(rows.STORE_ROWS), list(rows.KEEPERS))),
        ("With a persistent subscriber online, QoS 1", online_table(data)),
        ("The store", store_words(data)),
        ("Memory of the broker, bytes each", cost_table(data, rows.MEMORY_ROWS, names)),
        ("Latency at half of the rate reached, us", latency_table(data, names)),
        ("Latency of a bystander of a storm, us",
         latency_table(data, names, "storm", "bystander")),
        ("From one worker to two, us each", cores_table(data)),
        ("With a password for each client and 100 rules, us each",
         cost_table(data, rows.RIGHTS_ROWS, ["nightjar", "rights"])),
    ]
    return "\n".join(f"{title}\n{table}\n" for title, table in parts if table)


def _picture(data, key, title, svg):
    name = f"benchmarks-{key}.svg"
    with open(os.path.join(FOLDER, "images", name), "w", encoding="utf-8") as out:
        out.write(svg)
    return f"![{title}](images/{name})\n"


def _growth_lines(data, growth):
    lines = {}
    for name in growth.brokers:
        points = [(point, median(data, f"growth-{growth.key}-{point}", name, growth.phase))
                  for point in growth.points]
        lines[name] = [(x, y) for x, y in points if y]
    return {name: points for name, points in lines.items() if points}


def _growth_section(data):
    parts = []
    for growth in rows.GROWTHS:
        lines = _growth_lines(data, growth)
        if lines:
            svg = plots.lines(growth.title, growth.axis, "us of CPU each", lines)
            parts.append(f"`nightjar-bench {growth.command.format('N', half='N/2')}`\n\n"
                         + _picture(data, "growth-" + growth.key, growth.title, svg))
    return "\n".join(parts)


def _latency_picture(data, names):
    lines = {}
    for name in names:
        phases = [r["phases"][0] for r in data["results"].get("latency", {}).get(name, ())]
        if phases:
            lines[name] = [(i, statistics.median(p["latency_us"][q] for p in phases))
                           for i, q in enumerate(("p50", "p90", "p99", "p99.9", "p99.99"))]
    return plots.lines("Latency at half of the rate reached", "percentile", "us", lines,
                       names=("p50", "p90", "p99", "p99.9", "p99.99"))


def _cost_picture(data, names):
    groups = [(row.title.replace("`", ""),
               [(name, median(data, row.run, name, row.phase)) for name in names])
              for row in rows.COST_ROWS]
    return plots.bars("CPU time of the broker, us each", groups)


TEXT = """# Benchmarks

<!-- Written by ./dev bench; change tests/bench/page.py instead. -->

What a broker costs: its CPU time for each message delivered, which does not depend on how fast the
load generator is, and its memory. Three programs take turns on the same machine:

- **nightjar** with {workers} worker thread(s),
- **relay**, `nightjar-bench relay`: an epoll loop that finds the receivers of a topic with one hash
  look-up and copies bytes, without sessions, checks or limits. No broker can cost much less,
- **mosquitto**; for the latencies with `set_tcp_nodelay true`, which costs it CPU time.

Both brokers run with `persistence false`, except where the store is measured, and without limits on
queues and on messages in flight (`max_queued_messages 0`, `max_inflight_messages 0`).

Each program runs alone on processor 0 and is started anew for each run; the load comes from
processor 1. {rounds} rounds (A B C A B C ...) of {seconds} s each; the tables show medians. The
generator keeps so few messages under way that none is dropped, counts every one, and a run with a
message lost, doubled or out of order does not count as a result.

Repeat it with `./dev bench`, or in short with `./dev bench --quick`. One line of it by hand:

    nightjar-bench one-to-one --broker-pid $(pidof nightjar) --cpu 1 127.0.0.1:1883

## The machine

{machine}

## CPU time

Microseconds of the broker's CPU for each message, connection and so on; 64 bytes of payload, clean
sessions, MQTT 3.1.1. "x relay" is nightjar's cost divided by the relay's, "x cheaper" is
mosquitto's divided by nightjar's.

{costs}

{cost_picture}
The same with MQTT 5:

{costs5}

The rounds differ, those of a broker that makes a system call for each packet most: what a call
costs depends on whether its peer has to be woken. From the lowest round to the highest:

{spread}

## Other transports

The same over WebSocket, with all packets of a turn in one frame, and over TLS 1.3 with a P-256
certificate. The relay speaks WebSocket too, through libwebsockets.

{transports}

## Persistence

With `persistence true`, 64 bytes of payload. "nightjar" has `durability disk`: an acknowledgement
leaves when the message is on the disk. "process" has `durability process`: it leaves when the message
would survive the death of the broker, and the disk follows. mosquitto acknowledges at once, and
writes its file when it ends and every 30 minutes: what came since is lost in a crash.

Microseconds of CPU, of all threads:

{store}

How many each second:

{store_rates}

50 publishers to 50 persistent sessions that are online, QoS 1, window 32: each message has to be kept
until its receiver has acknowledged it. "memory" is nightjar with `persistence false`.

{online}

{store_words}

## The generator

The generator's own CPU time for each message, to show that it was not the limit:

{own}

## Memory

Bytes of resident memory for each, from the growth of the process; what the kernel keeps for a
socket is not in it.

{memory}

## Latency

From when a message was due to when it was read, in microseconds, at fixed times whatever the
broker does (one-to-one, QoS 0). Nightjar and mosquitto at half of the rate that they reached with
one processor, the relay at Nightjar's.

{latency_words}

{latency}

{latency_picture}
One publisher sends ten messages a second to 15,000 subscribers, and a pair of clients that has no
part in it exchanges 200 a second. That pair's latency:

{storm}

## Two workers

One-to-one at QoS 0 over a Unix socket, whose connections are dealt to the workers by turns, so that
either both ends of a pair are on one worker or none. Microseconds of CPU of both workers for each
message. One worker has processor 0 for itself; two share both processors with the load generator,
which makes turns shorter and caches colder. What that costs by itself is seen in two brokers with a worker
each, between which the same generator divides its connections: what two workers cost beyond them is
what they share. `./dev sharing` counts it ([performance.md](performance.md)).

{cores}

## Rights

With a password for each client and an `acl_file` of 100 rules ("rights"), in microseconds of CPU
for each message, undisturbed in the same way where that is allowed:

{rights}

## Growth

How the cost of a message grows with one thing at a time.

{growth}"""


def write(data):
    names = list(rows.EVERYBODY)
    os.makedirs(os.path.join(FOLDER, "images"), exist_ok=True)
    text = TEXT.format(
        workers=data["workers"], rounds=data["rounds"], seconds=data["seconds"],
        machine=_table(["", ""], data["machine"]).replace("-:|", "--|"),
        costs=cost_table(data, rows.COST_ROWS, names),
        cost_picture=_picture(data, "cost", "CPU time of the broker", _cost_picture(data, names)),
        costs5=cost_table(data, rows.COST_ROWS_5, names),
        spread=spread_table(data, names),
        transports=cost_table(data, rows.TRANSPORT_ROWS, names),
        store=cost_table(data, rows.STORE_ROWS, list(rows.KEEPERS), True),
        store_rates=cost_table(data, _rates(rows.STORE_ROWS), list(rows.KEEPERS)),
        online=online_table(data), store_words=store_words(data),
        own=own_cost_table(data, names),
        memory=cost_table(data, rows.MEMORY_ROWS, names),
        latency=latency_table(data, names), latency_words=latency_words(data),
        storm=latency_table(data, names, "storm", "bystander"),
        cores=cores_table(data),
        rights=cost_table(data, rows.RIGHTS_ROWS, ["nightjar", "rights"]),
        latency_picture=_picture(data, "latency", "Latency", _latency_picture(data, names)),
        growth=_growth_section(data))
    with open(os.path.join(FOLDER, "benchmarks.md"), "w", encoding="utf-8") as out:
        out.write(text)
    print("wrote docs/benchmarks.md")
