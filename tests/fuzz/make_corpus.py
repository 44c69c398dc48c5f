#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of the codecs' fuzz targets into tests/fuzz/corpus/<target>/seed-*.

Inputs that a fuzzer found stand beside them under other names and are left alone. A seed is written
as hexadecimal digits and quoted text; its first byte is the choice that tests/fuzz/support.h
describes.

usage: tests/fuzz/make_corpus.py
"""
import pathlib
import re

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
V31, V311, V5 = "00", "01", "02"
USER = "26 0001 'k' 0001 'v'"

SEEDS = {
    "frame": [
        V311 + "30 05 0001 'a' 'xx'", V5 + "c0 00", V5 + "62 02 0001", V5 + "82 808001", "05 10 8d00",
        V5 + "30 ffffff7f", V311 + "30 ffffffff 01", V31 + "8a 00", V311 + "f0 00", V5 + "e8 00",
    ],
    "connect": [
        V311 + "0004 'MQTT' 04 02 003c 0002 'id'", V31 + "0006 'MQIsdp' 03 02 003c 0002 'id'",
        V31 + "0006 'MQIsdp' 03 c2 003c 0002 'id'", V5 + "0004 'MQTT' 05 02 003c 00 0000",
        V311 + "0004 'MQTT' 04 f6 0000 0002 'id' 0003 'w/t' 0004 'gone' 0004 'user' 0002 00ff",
        V5 + "0004 'MQTT' 05 02 0000 2a 11 ffffffff 21 0014 27 00001000 22 000a 19 01 17 00"
             " 26 0001 'k' 0002 'vv' 15 0005 'PLAIN' 16 0003 000102 0002 'id'",
        V5 + "0004 'MQTT' 05 0e 0000 00 0002 'id' 22 18 0000000a 01 01 02 0000001e 03 0002 'ct'"
             " 08 0002 'rt' 09 0002 'cd' 26 0001 'k' 0001 'v' 0001 'w' 0000",
        V5 + "0004 'MQTT' 05 42 0000 00 0002 'id' 0002 'pw'", V311 + "0004 'MQTT' 84 02 003c 0002 'br'",
        V5 + "0004 'MQTT' 06 02 003c 0000", V5 + "0004 'HTTP' 05 02 003c 0000",
    ],
    # Made of RFC 8446, 4.1.2: version, random, session id, cipher suites, compression, extensions.
    "client_hello": [
        "16 0301 0041 01 00003d 0303 " + "11" * 32 + " 00 0002 1301 01 00 0012"
        " 0010 000e 000c 02 'h2' 08 'http/1.1'",
        "16 0301 0004 01 000041", "16 0301 0031 01 00002d 0303 " + "22" * 32
        + " 00 0002 1301 01 00 0002 ffff", "15 0301 0002 0100",
    ],
    "proxy_header": [
        "'PROXY TCP4 1.2.3.4 5.6.7.8 56324 443' 0d0a", "'PROXY TCP6 ::1 2001:db8::1 1 2' 0d0a",
        "'PROXY UNKNOWN' 0d0a", "'PROXY TCP4 1.2.3.4'", "0d0a0d0a000d0a515549540a 20 00 0000",
        "0d0a0d0a000d0a515549540a 21 11 000c 01020304 05060708 dc04 01bb",
        "0d0a0d0a000d0a515549540a 21 21 0024 " + "00" * 36,
    ],
    "publish": [
        "01 0003 'a/b' 'hello'", "21 0001 'a' 1234 'x'", "c0 0001 'a' 1234", "12 0001 'a' 00 'x'",
        "22 0001 'a' 0007 27 0101 02 0000003c 03 0002 'ct' 08 0002 'rt' 09 0003 010203 23 0005"
        " 26 0001 'k' 0001 'v' 26 0001 'k' 0000 'data'",
        "02 0000 03 23 000a 'x'", "02 0001 'a' 0f 23 0001 " + USER + " 02 00000001 'x'",
        "06 0001 'a' 05 0b01 0b8101 'x'", "02 0001 'a' 0e " + USER + USER, "61 0001 'a' 0001",
        "01 0006 c3a9 e282ac '/' 'x'", "02 0001 'a' 06 08 0003 'a/+'",
    ],
    "ack": [
        choice + body for choice in ("02", "06", "0a", "0e")
        for body in ("0001", "0001 00", "0001 92 00", "0001 10 0c 1f 0002 'no' " + USER)
    ] + [V311 + "ffff", V31 + "0000"],
    "subscribe": [
        V311 + "000a 0003 'a/b' 01 0001 '#' 02", V5 + "0001 00 0001 'a' 2d",
        V5 + "0001 0a 0b 8101 " + USER + " 0001 'a' 1d 000b '$share/g/+/' 20",
        V311 + "0001 000a '$share/g/a' 01", V31 + "0001 0003 '+/#' fc", V5 + "0001 00",
        V5 + "0001 00 000a '$share/g/a' 04", V5 + "0001 00 0009 '$share//a' 00",
    ],
    "unsubscribe": [
        V311 + "000a 0003 'a/b' 0001 '#'", V5 + "0007 00 0001 'a' 000a '$share/g/b'",
        V5 + "0001 07 " + USER + " 0005 '+/+/+'", V31 + "0001", V5 + "0001 00 0002 'a+'",
    ],
    "disconnect": [
        V311, V5, V5 + "04", V5 + "00 0a 11 0000000a 1f 0002 'ok'", V5 + "98 07 " + USER,
        "06 8b 0a 1f 0003 'bye' 1c 0001 'b'", V5 + "00 04 1c 0001 's'", V311 + "00",
    ],
    "auth": [
        "02 18 0c 15 0005 'SCRAM' 16 0001 'x'", "02 19 13 15 0005 'SCRAM' 16 0001 'x' " + USER,
        "06", "06 00 0a 15 0001 'x' 1f 0003 'yes'", "02 18 00", "02 18 04 16 0001 'x'",
    ],
    "answer": [
        "01 01 00", "00 00 05", "02 01 00 00",
        "02 00 00 1d 11 00000064 21 0014 24 01 25 00 27 00100000 28 00 29 00 2a 00 13 002d 22 000a",
        "02 00 87 15 12 0002 'id' 1f 0002 'no' 1c 0001 's' 1a 0002 'ri' 00",
        "02 00 00 0d 15 0005 'SCRAM' 16 0002 'xy'",
        "05 000a 0280", "06 000a 00 0287", "0a 000a 04 1f 0001 's' 0011", "09 000a",
    ],
    "property": [
        "30 00", "30 0e 01 01 02 00000005 " + USER, "31 04 0b01 0b02", "80 02 0b05", "10 03 21 0001",
        "00 0a 18 00000001 08 0002 'rt'", "20 05 11 00000001", "e0 05 11 00000001", "30 03 23 0000",
        "30 04 26 0001 'k'", "30 02 7f 00", "30 ffffffff7f",
    ],
    "topic": [
        "'a/b' 0a 'a/+' 0a '#'", "'$SYS/x' 0a '#' 0a '$SYS/#'", "'/' 0a '+/+' 0a '/#'",
        "'a' 0a 'a/#' 0a '+'", "'x' 0a '$share/g/a' 0a '$share//'", "c3a9 '/' f09f9880 0a c3a9 '/+' 0a '+/#'",
        "eda080 0a 'a#' 0a '#/a'", "'a/b/c/d/e/f/g/h' 0a 'a/+/c/+/e/+/g/+' 0a 'a/b/#'",
        "'a' 00 'b' 0a c0af 0a ff", "'aaaaaaaaaaaaaaaaaaaaa+' 0a '+aaaaaaaa' 0a '//+//'",
    ],
}


def encode(text):
    out = bytearray()
    for quoted, digits in re.findall(r"'([^']*)'|([0-9a-fA-F]{2})", text):
        out += quoted.encode() if quoted else bytes.fromhex(digits)
    return bytes(out)


def main():
    for target, seeds in SEEDS.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (folder / f"seed-{number:02}").write_bytes(encode(seed))


if __name__ == "__main__":
    main()
