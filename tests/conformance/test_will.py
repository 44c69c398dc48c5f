# SPDX-License-Identifier: Apache-2.0
"""Will Messages: when they are published, how, and when not (sections 3.1.2.5, 3.1.3.2, 3.14.4)."""
import time

from harness.mqtt_raw import packet
from harness.runner import case
from helpers import BAD, Fence, hold, let_pass, persistent, retained

ALL_V5 = {"payload_format_indicator": 1, "message_expiry_interval": 100, "content_type": "text",
          "response_topic": "answer/here", "correlation_data": b"\0\1"}


def watcher(t, topic, qos=2, rap=True):
    client = t.open("watcher")
    client.subscribe((topic, hold(qos, rap=rap) if t.is_v5() else qos))
    return client


@case("The Will is published when the connection ends without DISCONNECT",
      v5="3.1.2-7 3.1.2-8", v311="3.1.2-8", v31="V31-6")
def on_close(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    for qos in (0, 1, 2):
        client = t.open("dying", will={"topic": topic, "payload": b"gone", "qos": qos})
        client.close()
        eye.receive(topic, b"gone", qos=qos)


@case("The Will is published when the connection is reset", v5="3.1.2-8", v311="3.1.2-8")
def on_reset(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    t.open("dying", will={"topic": topic, "payload": b"gone"}).abort()
    eye.receive(topic, b"gone")


@case("The Will is published when the Keep Alive runs out", v5="3.1.2-8 3.1.2-22",
      v311="3.1.2-8 3.1.2-24")
def on_keep_alive(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    client = t.open("dying", keep_alive=1, will={"topic": topic, "payload": b"gone"})
    eye.receive(topic, b"gone")
    client.expect_closed(reason=0x8D)


@case("The Will is published after a protocol error", v5="3.1.2-8", v311="3.1.2-8")
def on_error(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    client = t.open("dying", will={"topic": topic, "payload": b"gone"})
    client.send(packet(0, 0))
    client.expect_closed(reason=BAD)
    eye.receive(topic, b"gone")


@case("DISCONNECT discards the Will", v5="3.14.4-3 3.1.2-8 3.1.2-10",
      v311="3.14.4-3 3.1.2-10", v31="V31-6")
def on_disconnect(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    fence = Fence(t, eye)
    t.open("leaving", will={"topic": topic, "payload": b"gone"}).leave()
    fence.check(t.open("publisher"))
    eye.leave()


@case("DISCONNECT with reason 0 in its long form discards the Will too", v5="3.14.4-3")
def on_long_disconnect(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    fence = Fence(t, eye)
    t.open("leaving", will={"topic": topic, "payload": b"gone"}).leave(0, {})
    fence.check(t.open("publisher"))


@case("DISCONNECT with 0x04 publishes the Will", v5="3.1.2-8 3.14.4-3")
def disconnect_with_will(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    t.open("leaving", will={"topic": topic, "payload": b"gone"}).leave(4)
    eye.receive(topic, b"gone")


@case("Without Will Flag no Will is published", v311="3.1.2-12", v5="")
def no_will(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    fence = Fence(t, eye)
    first = t.open("dying", will={"topic": topic, "payload": b"first"})
    first.leave()
    t.open("dying").abort()
    # The next client with that name is served only after the end of the one before.
    t.open("dying").leave()
    fence.check(t.open("publisher"))


@case("A Will that was published is gone", v5="3.1.2-10", v311="3.1.2-10")
def only_once(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    fence = Fence(t, eye)
    client = persistent(t, "dying", will={"topic": topic, "payload": b"gone"})
    client.close()
    eye.receive(topic, b"gone")
    persistent(t, "dying", session_present=True).abort()
    persistent(t, "dying", session_present=True).leave()
    fence.check(t.open("publisher"))


@case("Will Retain 0 publishes the Will as not retained", v5="3.1.2-14", v311="3.1.2-16")
def not_retained(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    t.open("dying", will={"topic": topic, "payload": b"gone"}).close()
    eye.receive(topic, b"gone", retain=False)
    assert retained(t, topic) is None


@case("Will Retain 1 publishes the Will as retained", v5="3.1.2-15", v311="3.1.2-17")
def is_retained(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    t.open("dying", will={"topic": topic, "payload": b"gone", "retain": True, "qos": 1}).close()
    eye.receive(topic, b"gone", qos=1, retain=t.is_v5())
    assert retained(t, topic) == b"gone"


@case("A Will is published before the next client with its name is served", v5="3.1.4-3 3.1.2-8",
      v311="3.1.2-8 3.1.4-2")
def on_takeover(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    first = t.open("same", will={"topic": topic, "payload": b"gone"})
    t.open("same")
    first.expect_closed(reason=0x8E)
    eye.receive(topic, b"gone")


@case("A takeover with Clean Start 0 publishes a Will that has no delay", v5="3.1.2-8 3.1.4-3",
      v311="3.1.2-8 3.1.4-2")
def on_takeover_resumed(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    fence = Fence(t, eye)
    first = persistent(t, "same", will={"topic": topic, "payload": b"gone"})
    second = persistent(t, "same", session_present=True)
    first.expect_closed(reason=0x8E)
    eye.receive(topic, b"gone")
    second.leave()
    fence.check(t.open("publisher"))


@case("A Will carries its properties", v5="3.1.2-9 3.1.3-10 3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-20")
def will_properties(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    users = [("b", "2"), ("a", "1"), ("b", "2"), ("", "")]
    items = list(ALL_V5.items()) + [("user_property", pair) for pair in users]
    t.open("dying", will={"topic": topic, "payload": b"gone", "qos": 1,
                          "properties": items}).close()
    wanted = dict(ALL_V5, user_property=users, will_delay_interval=None)
    del wanted["message_expiry_interval"]
    pkt = eye.receive(topic, b"gone", qos=1, properties=wanted)
    assert 95 <= pkt.properties["message_expiry_interval"] <= 100, pkt


@case("A retained Will with an expiry is retained for that long", v5="3.1.2-15 3.3.2-6")
def retained_with_expiry(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    t.open("dying", will={"topic": topic, "payload": b"gone", "retain": True,
                          "properties": {"message_expiry_interval": 6}}).close()
    eye.receive(topic, b"gone", retain=True)
    assert retained(t, topic, "before") == b"gone"
    let_pass(7)
    assert retained(t, topic, "after") is None


@case("A new connection without a Will leaves none of the one before", v5="3.1.2-7 3.1.3-9",
      v311="3.1.2-12 3.1.2-10")
def replaced_by_none(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    fence = Fence(t, eye)
    if t.is_v5():
        delayed(t, 60, 600).close()
    else:
        t.open("dying", will={"topic": topic, "payload": b"gone"}).leave()
    persistent(t, "dying").abort()
    t.open("dying", clean=True).leave()
    fence.check(t.open("publisher"))


@case("DISCONNECT with a body is none, and the Will is published", v311="4.8.0-1 3.14.4-3")
def disconnect_with_body(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    client = t.open("leaving", will={"topic": topic, "payload": b"gone"})
    client.send(packet(14, 0, b"\0"))
    client.expect_closed()
    eye.receive(topic, b"gone")


@case("An empty Will Payload is a Will too", v5="3.1.2-9", v311="3.1.2-9")
def empty_will(t):
    topic = t.topic("will")
    eye = watcher(t, topic)
    t.open("dying", will={"topic": topic, "payload": b""}).close()
    eye.receive(topic, b"")


def delayed(t, delay, seconds, name="dying"):
    """A client with a session and a Will that waits."""
    will = {"topic": t.topic("will"), "payload": b"gone",
            "properties": {"will_delay_interval": delay}}
    return persistent(t, name, seconds=seconds, will=will)


@case("Will Delay Interval: the Will waits that long", v5="3.1.2-8")
def will_delay(t):
    eye = watcher(t, t.topic("will"))
    client = delayed(t, 1, 60)
    start = time.monotonic()
    client.close()
    eye.receive(t.topic("will"), b"gone")
    assert 0.9 <= time.monotonic() - start < 30


@case("A new connection within the Will Delay suppresses the Will", v5="3.1.3-9 3.1.2-8")
def will_delay_reconnect(t):
    eye = watcher(t, t.topic("will"))
    fence = Fence(t, eye)
    delayed(t, 5, 60).close()
    again = persistent(t, "dying", session_present=True)
    let_pass(5.6)
    fence.check(t.open("publisher"))
    again.leave()


@case("A takeover with Clean Start 0 within the Will Delay suppresses the Will", v5="3.1.3-9")
def will_delay_takeover(t):
    eye = watcher(t, t.topic("will"))
    fence = Fence(t, eye)
    first = delayed(t, 1, 60)
    again = persistent(t, "dying", session_present=True)
    first.expect_closed(reason=0x8E)
    let_pass(1.6)
    fence.check(t.open("publisher"))
    again.leave()


@case("The end of the session publishes the Will before its delay is over", v5="3.1.2-8 4.1.0-2")
def will_at_session_end(t):
    eye = watcher(t, t.topic("will"))
    client = delayed(t, 60, 1)
    start = time.monotonic()
    client.close()
    eye.receive(t.topic("will"), b"gone")
    assert 0.9 <= time.monotonic() - start < 30


@case("Without a session that stays, the Will does not wait", v5="3.1.2-8")
def will_without_session(t):
    eye = watcher(t, t.topic("will"))
    client = delayed(t, 60, 0)
    client.close()
    eye.receive(t.topic("will"), b"gone")


@case("Clean Start ends the session and so publishes a Will that waits", v5="3.1.2-8 3.1.2-4")
def will_at_clean_start(t):
    eye = watcher(t, t.topic("will"))
    delayed(t, 60, 600).close()
    t.open("dying", clean=True, session_present=False)
    eye.receive(t.topic("will"), b"gone")


@case("DISCONNECT with Session Expiry Interval 0 publishes a Will that was asked for at once",
      v5="3.1.2-8")
def will_and_expiry_zero(t):
    eye = watcher(t, t.topic("will"))
    delayed(t, 60, 600).leave(4, {"session_expiry_interval": 0})
    eye.receive(t.topic("will"), b"gone")


@case("A Will goes to its own client too when that is back", v5="3.1.2-8", v311="3.1.2-8")
def own_will(t):
    topic = t.topic("will")
    client = persistent(t, "dying", will={"topic": topic, "payload": b"gone", "qos": 1})
    client.subscribe((topic, 1))
    client.close()
    back = persistent(t, "dying", session_present=True)
    back.receive(topic, b"gone", qos=1)
    back.leave()


@case("A Will to a topic of the broker's own ($SYS) is refused with its CONNECT",
      v5="", v311="")
def to_sys(t):
    client = t.raw("dying")
    client.open(reason=0x87 if t.is_v5() else 5,
                will={"topic": "$SYS/broker/uptime", "payload": b"gone"})
    client.expect_closed()
