# SPDX-License-Identifier: Apache-2.0
"""Programs with the libraries that people build on: libmosquitto (lib_*.c) and MQTT.js (mqttjs/)."""
import os
import shutil

from harness import transport
from harness.runner import Skip, case
from support import run_both, running, test_program

HERE = os.path.dirname(os.path.abspath(__file__))


def _program(name):
    with running() as broker:
        run_both(test_program("integration", name), broker.port, deadline_s=300,
                 env=transport.environment(broker.port))


@case("libmosquitto with threads: each version and QoS, in order")
def lib_threaded(_t):
    _program("lib_threaded")


@case("libmosquitto: version 5 properties, identifiers, No Local, will, takeover")
def lib_properties(_t):
    _program("lib_properties")


@case("libmosquitto: a session that is cut off again and again gets each message")
def lib_reconnect(_t):
    _program("lib_reconnect")


def _mqttjs(script):
    if transport.name() == "unix":
        raise Skip("MQTT.js does not know Unix sockets")
    if not shutil.which("node"):
        raise Skip("node is not installed")
    folder = os.path.join(HERE, "mqttjs")
    if not os.path.isdir(os.path.join(folder, "node_modules", "mqtt")):
        raise Skip("MQTT.js is not there: run 'npm ci' in tests/integration/mqttjs")
    with running() as broker:
        run_both("node", script, transport.url(broker.port), cwd=folder, deadline_s=300,
                 env=transport.environment(broker.port))


@case("MQTT.js: publish and subscribe, each version and QoS")
def mqttjs_basic(_t):
    _mqttjs("basic.js")


@case("MQTT.js: sessions, wills and retained messages over reconnects")
def mqttjs_sessions(_t):
    _mqttjs("sessions.js")


@case("MQTT.js: version 5 properties, topic aliases, request and response, shared groups")
def mqttjs_v5(_t):
    _mqttjs("v5.js")
