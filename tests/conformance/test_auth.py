# SPDX-License-Identifier: Apache-2.0
"""Sections 3.15 and 4.12: enhanced authentication.

Where a method is needed the cases use nightjar-test-auth (tests/support/test_auth.c), the broker
with a hook for the method NJ-CHALLENGE: the server asks "who?", the client answers "me", and the
server's last word is "welcome". NIGHTJAR_AUTH_BIN names the program if it lies elsewhere.
"""
import os

from harness.broker import default_bin
from harness.mqtt_raw import AUTH, CONNACK, auth, connect, packet, publish
from harness.runner import case
from helpers import BAD, bad_connect, bad_packet, expect_refusal

METHOD = "NJ-CHALLENGE"


def auth_broker():
    path = os.environ.get("NIGHTJAR_AUTH_BIN") or \
        os.path.join(os.path.dirname(default_bin()), "nightjar-test-auth")
    return path if os.path.exists(path) else None


@case("AUTH without a method in CONNECT ends the connection", v5="4.12.0-7 4.13.1-1")
def auth_without_method(t):
    for data in (auth(0x19, {"authentication_method": METHOD}), auth(0x18), packet(AUTH, 0)):
        bad_packet(t, data, BAD)


@case("Without a method the server sends no AUTH and names none", v5="4.12.0-6")
def no_method(t):
    client = t.open(username="someone", password=b"x")
    assert "authentication_method" not in client.connack.properties
    assert "authentication_data" not in client.connack.properties


@case("An unknown method is refused", v5="4.12.0-1 4.12.0-4 3.2.2-7")
def unknown_method(t):
    items = {"authentication_method": "NOBODY-KNOWS", "authentication_data": b"x"}
    bad_connect(t, connect(t.client_id(), properties=items), {0x8C, 0x87})


def properties(data=None, method=METHOD):
    items = {"authentication_method": method}
    if data is not None:
        items["authentication_data"] = data
    return items


def begin(t, name="c", trickle=False, **connect_args):
    """CONNECT with the method; returns the client after the server's question."""
    client = t.raw(name)
    client.send(connect(client.client_id, properties=properties(**connect_args)), trickle)
    client.expect(AUTH, reason=0x18, properties=properties(b"who?"))
    return client


def authenticated(t, name="c", trickle=False):
    client = begin(t, name, trickle)
    client.send(auth(0x18, properties(b"me")), trickle)
    client.connack = client.expect(CONNACK, reason=0, properties=properties(b"welcome"))
    return client


@case("The exchange ends in CONNACK; AUTH and CONNACK carry the method",
      v5="4.12.0-2 4.12.0-3 4.12.0-5 3.15.2-1", binary=auth_broker)
def exchange(t):
    for trickle in (False, True):
        client = authenticated(t, trickle=trickle)
        client.expect_alive()
        client.leave()


@case("A wrong answer is refused", v5="4.12.0-4", binary=auth_broker)
def wrong_answer(t):
    client = begin(t)
    client.send(auth(0x18, properties(b"somebody else")))
    expect_refusal(client, {0x87, 0x86})


@case("AUTH with another reason, method or without one ends the exchange", v5="4.12.0-5 4.12.0-3",
      binary=auth_broker)
def wrong_auth(t):
    for data in (auth(0x18, properties(b"me", "OTHER")), auth(0x19, properties(b"me")),
                 auth(0x18), auth(0, properties(b"me"))):
        client = begin(t)
        client.send(data)
        expect_refusal(client, BAD | {0x8C, 0x87}, silent=True)


@case("Any other packet before CONNACK ends the exchange", v5="4.12.0-4 3.1.0-1",
      binary=auth_broker)
def early_packet(t):
    client = begin(t)
    client.send(publish(t.topic(), b"early", 1, 1))
    expect_refusal(client, BAD | {0x87}, silent=True)


@case("Re-authentication by the same method succeeds, and traffic goes on meanwhile",
      v5="4.12.1-1 4.12.0-5 3.15.2-1", binary=auth_broker)
def again(t):
    client = authenticated(t)
    for _ in range(2):
        client.send(auth(0x19, properties()))
        client.expect(AUTH, reason=0x18, properties=properties(b"who?"))
        client.publish(t.topic(), b"meanwhile", qos=1)
        client.send(auth(0x18, properties(b"me")))
        client.expect(AUTH, reason=0, properties=properties(b"welcome"))
        client.expect_alive()


@case("Re-authentication that fails ends in DISCONNECT", v5="4.12.1-2", binary=auth_broker)
def again_fails(t):
    client = authenticated(t)
    client.send(auth(0x19, properties()))
    client.expect(AUTH, reason=0x18, properties=properties(b"who?"))
    client.send(auth(0x18, properties(b"nobody")))
    client.expect_closed(reason={0x87, 0x86})


@case("Re-authentication by another method ends the connection", v5="4.12.1-1",
      binary=auth_broker)
def again_other_method(t):
    client = authenticated(t)
    client.send(auth(0x19, properties(method="OTHER")))
    client.expect_closed(reason=BAD | {0x8C})


@case("AUTH with reason 0x18 when no exchange is under way ends the connection",
      v5="4.12.0-3 4.13.1-1", binary=auth_broker)
def out_of_turn(t):
    client = authenticated(t)
    client.send(auth(0x18, properties(b"me")))
    client.expect_closed(reason=BAD)
