# SPDX-License-Identifier: Apache-2.0
"""What ./dev bench measures: the runs of nightjar-bench, and the table's rows made from them."""
from dataclasses import dataclass

EVERYBODY = ("nightjar", "relay", "mosquitto")
# Those that keep messages: nightjar with durability disk, with durability process, and mosquitto.
KEEPERS = ("nightjar", "process", "mosquitto")
# nightjar with a password for each client and an ACL of 100 rules; with a store that survives the
# broker's death at once and a power cut a second later; without a store.
VARIANTS = ("rights", "process", "memory")
# Beside one that keeps nothing: nightjar with `persistence false`.
ONLINE = ("memory", "process", "nightjar", "mosquitto")
BROKERS = ("nightjar", "mosquitto")     # the relay knows QoS 0 and plain subscriptions only


@dataclass(frozen=True)
class Run:
    """One call of nightjar-bench against a fresh broker."""
    key: str
    command: str
    quick: str = ""             # instead of command, with --quick; "-" leaves it out
    brokers: tuple = EVERYBODY
    transport: str = "tcp"
    persistence: bool = False
    workers: str = ""           # of nightjar, whatever --workers says
    is_apart: bool = False      # two brokers, each of which has every second connection
    # Broker and generator keep their processors against all other programs of the machine.
    is_undisturbed: bool = False

    def arguments(self, is_quick):
        return (self.quick if is_quick and self.quick else self.command).split()


@dataclass(frozen=True)
class Row:
    """One line of a table: a figure of one phase of a run."""
    title: str
    run: str
    phase: str
    field: str = "broker_cpu_us_each"


RUNS = (
    Run("one-to-one", "one-to-one"),
    Run("fan-out", "fan-out"),
    Run("fan-in", "fan-in"),
    Run("wildcard", "wildcard", brokers=BROKERS),
    Run("qos1", "one-to-one -q 1 -w 32", brokers=BROKERS),
    Run("qos2", "one-to-one -q 2 -w 32", brokers=BROKERS),
    Run("connect", "connect", "connect -n 3000"),
    Run("churn", "churn", "churn -n 3000", brokers=BROKERS),
    Run("retained", "retained", "retained -n 20000", brokers=BROKERS),
    Run("match", "match", "match -n 50000", brokers=BROKERS),
    Run("subscription", "match --exact", "match --exact -n 50000", brokers=BROKERS),
    Run("subscription-32", "match --exact", "match --exact -n 50000", brokers=("nightjar",),
        workers="32"),
    Run("offline-3", "offline -n 10000 -m 1 --filters 3", "offline -n 1000 -m 1 --filters 3",
        brokers=BROKERS),
    Run("offline", "offline -n 10000 -m 10", "offline -n 1000 -m 10", brokers=BROKERS),
    Run("idle", "idle", "idle --base 1000 -n 3000"),
    Run("storm", "storm", "storm -S 2000"),
    Run("rights", "one-to-one", brokers=("nightjar", "rights"), is_undisturbed=True),
    # The connections of a Unix socket are dealt to the workers by turns: with an even number of pairs
    # each pair has its two ends on one worker, with an odd number none has.
    Run("cores-one", "one-to-one -P 50", brokers=("nightjar",), transport="unix", workers="1"),
    # What two workers cost that have nothing to do with each other, beside the same generator.
    Run("cores-apart", "one-to-one -P 50", brokers=("nightjar",), transport="unix", workers="1",
        is_apart=True),
    Run("cores-same", "one-to-one -P 50", brokers=("nightjar",), transport="unix", workers="2"),
    Run("cores-cross", "one-to-one -P 51", brokers=("nightjar",), transport="unix", workers="2"),
    Run("ws", "one-to-one", transport="ws"),
    Run("ws-connect", "connect -n 2000", "connect -n 500", transport="ws"),
    Run("ws-idle", "idle --base 1000 -n 5000", "idle --base 500 -n 1500", transport="ws"),
    Run("tls", "one-to-one", brokers=BROKERS, transport="tls"),
    Run("tls-connect", "connect -n 1000", "connect -n 200", brokers=BROKERS, transport="tls"),
    Run("tls-idle", "idle --base 500 -n 2500", "-", brokers=BROKERS, transport="tls"),
    Run("wss", "one-to-one", brokers=BROKERS, transport="wss"),
    Run("store-offline", "offline -n 1000 -m 50 -w 500", "offline -n 200 -m 50 -w 500",
        brokers=KEEPERS, persistence=True),
    Run("store-long", "offline -n 100 -m 1000 -w 500", "-", brokers=KEEPERS, persistence=True),
    Run("store-online", "one-to-one -q 1 -w 32 --persistent", brokers=ONLINE, persistence=True),
    Run("store-retained", "retained -n 50000", "retained -n 10000", brokers=KEEPERS,
        persistence=True),
    Run("store-retained-1", "retained -n 50000 -q 1", "-", brokers=KEEPERS, persistence=True),
    Run("one-to-one-5", "one-to-one -V 5"),
    Run("fan-out-5", "fan-out -V 5", "-"),
    Run("fan-in-5", "fan-in -V 5", "-"),
    Run("qos1-5", "one-to-one -q 1 -w 32 -V 5", "-", brokers=BROKERS),
    Run("qos2-5", "one-to-one -q 2 -w 32 -V 5", "-", brokers=BROKERS),
)

COST_ROWS = (
    Row("one-to-one, 50 pairs, QoS 0", "one-to-one", "deliver"),
    Row("fan-out, 1 to 500, QoS 0", "fan-out", "deliver"),
    Row("fan-in, 200 to 1 (`#`), QoS 0", "fan-in", "deliver"),
    Row("wildcards, 50 pairs, QoS 0", "wildcard", "deliver"),
    Row("one-to-one, QoS 1, window 32", "qos1", "deliver"),
    Row("one-to-one, QoS 2, window 32", "qos2", "deliver"),
    Row("connect", "connect", "connect"),
    Row("visit: connect, subscribe, publish, leave", "churn", "visit"),
    Row("retained message: store", "retained", "store"),
    Row("retained message: deliver to a wildcard", "retained", "deliver"),
    Row("subscribe", "match", "subscribe"),
    Row("publish among many subscriptions, 1 % match", "match", "publish"),
    Row("queue a message for an offline session", "offline", "queue"),
    Row("drain it when the client is back", "offline", "drain"),
)

COST_ROWS_5 = (
    Row("one-to-one, 50 pairs, QoS 0", "one-to-one-5", "deliver"),
    Row("fan-out, 1 to 500, QoS 0", "fan-out-5", "deliver"),
    Row("fan-in, 200 to 1 (`#`), QoS 0", "fan-in-5", "deliver"),
    Row("one-to-one, QoS 1, window 32", "qos1-5", "deliver"),
    Row("one-to-one, QoS 2, window 32", "qos2-5", "deliver"),
)

TRANSPORT_ROWS = (
    Row("one-to-one over WebSocket, QoS 0", "ws", "deliver"),
    Row("one-to-one over TLS, QoS 0", "tls", "deliver"),
    Row("one-to-one over WebSocket and TLS, QoS 0", "wss", "deliver"),
    Row("connect over WebSocket", "ws-connect", "connect"),
    Row("connect over TLS, full handshake", "tls-connect", "connect"),
)

STORE_ROWS = (
    Row("queue a message for an offline session", "store-offline", "queue"),
    Row("drain it when the client is back", "store-offline", "drain"),
    Row("queue a message, 1,000 for each of 100 sessions", "store-long", "queue"),
    Row("drain them", "store-long", "drain"),
    Row("make a session, subscribe, leave", "store-offline", "leave"),
    Row("retained message, QoS 0: store", "store-retained", "store"),
    Row("retained message, QoS 1: store", "store-retained-1", "store"),
)

ONLINE_ROWS = (
    Row("microseconds of CPU each", "store-online", "deliver"),
    Row("messages each second", "store-online", "deliver", "per_second"),
)

CORES_ROWS = (
    Row("one worker", "cores-one", "deliver"),
    Row("two brokers with a worker each", "cores-apart", "deliver"),
    Row("two workers, no message crosses", "cores-same", "deliver"),
    Row("two workers, every message crosses", "cores-cross", "deliver"),
)

RIGHTS_ROWS = (Row("one-to-one, 50 pairs, QoS 0", "rights", "deliver"),)

MEMORY_ROWS = (
    Row("idle connection", "idle", "connect", "broker_memory_each"),
    Row("idle connection over WebSocket", "ws-idle", "connect", "broker_memory_each"),
    Row("idle connection over TLS", "tls-idle", "connect", "broker_memory_each"),
    Row("subscription, one of 20 with `#`, three with `+`", "match", "subscribe",
        "broker_memory_each"),
    Row("subscription of the form `device/N/cmd`", "subscription", "subscribe",
        "broker_memory_each"),
    Row("the same, 32 workers", "subscription-32", "subscribe", "broker_memory_each"),
    Row("retained message of 64 bytes", "retained", "store", "broker_memory_each"),
    Row("offline session with a subscription", "offline", "leave", "broker_memory_each"),
    Row("offline session with three", "offline-3", "leave", "broker_memory_each"),
    Row("queued message of 64 bytes, QoS 1", "offline", "queue", "broker_memory_each"),
)

LATENCY = Run("latency", "", is_undisturbed=True)


@dataclass(frozen=True)
class Growth:
    """A plot: cost against one parameter."""
    key: str
    title: str
    axis: str
    command: str                # with {} for the parameter
    points: tuple
    phase: str = "deliver"
    brokers: tuple = EVERYBODY


GROWTHS = (
    Growth("payload", "Payload", "bytes", "one-to-one -b {} -w 8 -P 20",
           (16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)),
    Growth("fan-out", "Fan-out", "subscribers", "fan-out -S {} -w 12",
           (1, 10, 100, 1000, 5000)),
    Growth("connections", "Number of connections, half of which publish", "connections",
           "one-to-one -P {half} -w 8", (20, 200, 2000, 10000)),
    Growth("depth", "Topic depth", "levels", "one-to-one --levels {}", (2, 4, 8, 16, 32)),
    Growth("subscriptions", "Publish among many subscriptions", "subscriptions", "match -n {}",
           (1000, 10000, 100000, 1000000), "publish", BROKERS),
)
