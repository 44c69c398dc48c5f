# SPDX-License-Identifier: Apache-2.0
"""nightjar-store: what it makes of stores, whole and damaged, and of mosquitto's mosquitto.db."""
import contextlib
import json
import os
import pathlib
import struct
import subprocess
import tempfile

from harness import tmpfs
from harness.broker import Broker, BrokerError, free_port, wait_until
from harness.runner import Skip, case
from support import (DEADLINE_S, default_bin, equal, is_thread_sanitized, mosquitto_file, nightjar_only,
                     pub, run, running, tool)


def store_program():
    nightjar_only()
    if is_thread_sanitized():
        raise Skip("nightjar-store has one thread, and its map finds no place beside the sanitizer")
    path = os.path.join(os.path.dirname(os.path.realpath(default_bin())), "nightjar-store")
    if not os.path.exists(path):
        raise BrokerError(f"{path} was not built")
    return path


def store(directory, *command, expect=0, stdin=None):
    return run(store_program(), "-d", directory, *command, expect=expect, stdin=stdin)


def refused(directory, *command):
    """What it says when it does not do it."""
    done = subprocess.run([store_program(), "-d", str(directory), *map(str, command)],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    equal(done.returncode, 1)
    return done.stderr


def import_lines(directory, records, *options):
    return store(directory, "import", *options, stdin="".join(json.dumps(r) + "\n" for r in records))


def lines(directory):
    return [json.loads(line) for line in store(directory, "export").splitlines()]


def of_type(records, kind):
    return [record for record in records if record["type"] == kind]


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory() as path:
        yield path


def sub_once(port, *args, version=5):
    """A persistent session with its subscriptions, offline again."""
    run(*tool("mosquitto_sub", port, version, "-E", *args))


def mosquitto_db(path):
    """A mosquitto.db of Debian's mosquitto with sessions, queues and retained messages."""
    port = free_port()
    config = os.path.join(path, "m.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
                   f"persistence_location {path}/\nuser root\n")
    with subprocess.Popen([mosquitto_file("usr", "sbin", "mosquitto"), "-c", config],
                          stderr=subprocess.DEVNULL) as broker:
        try:
            wait_until(lambda: pub(port, "-t", "x", "-m", "y", expect=None) is not None
                       and broker.poll() is None and _answers(port), what="mosquitto listens")
            sub_once(port, "-i", "old", "-c", "-q", "1", "-t", "a/#", version=4)
            sub_once(port, "-i", "new", "-c", "-x", "600", "-q", "2", "-t", "a/b", "-u", "ada",
                     "-t", "$share/g/shared")
            pub(port, "-i", "pub", "-u", "bob", "-t", "a/b", "-q", "2", "-m", "hello",
                "-D", "publish", "user-property", "k", "v")
            pub(port, "-t", "a/c", "-q", "1", "-r", "-m", "kept")
            pub(port, "-t", "r/x", "-q", "0", "-r", "-m", "kept too")
            run(*tool("mosquitto_sub", port, 5, "-t", "r/x", "-C", "1"))    # it is there
        finally:
            broker.terminate()
    return os.path.join(path, "mosquitto.db")


def _answers(port):
    done = subprocess.run(tool("mosquitto_pub", port, 5, "-t", "x", "-m", "y"),
                          capture_output=True, check=False, timeout=DEADLINE_S)
    return done.returncode == 0


@case("nightjar-store takes over the sessions, queues and retained messages of a mosquitto.db")
def import_mosquitto(_t):
    with folder() as path:
        database = mosquitto_db(path)
        said = store(f"{path}/new", "import-mosquitto", database)
        assert "2 sessions with 2 subscriptions and 3 messages on their way" in said, said
        assert "neither shared subscriptions nor wills" in said and "Left out" not in said, said
        records = lines(f"{path}/new")
        sessions = {s["name"]: s for s in of_type(records, "session")}
        equal(sorted(sessions), ["new", "old"])
        equal(sessions["new"]["username"], "ada")
        equal(sessions["new"]["expiry_s"], 600)
        equal(sessions["old"]["expiry_s"], 0xffffffff)
        equal(sorted((s["id"], s["filter"], s["qos"]) for s in of_type(records, "subscription")),
              sorted([(sessions["old"]["id"], "a/#", 1), (sessions["new"]["id"], "a/b", 2)]))
        equal({r["topic"]: r["payload"] for r in of_type(records, "retained")},
              {"a/c": "kept", "r/x": "kept too"})
        bodies = [m["message"] for m in of_type(records, "message") if "message" in m]
        hello = [b for b in bodies if b["topic"] == "a/b"]
        equal(len(hello), 1)    # once, for both
        equal((hello[0]["client_id"], hello[0]["username"]), ("pub", "bob"))
        assert "is whole" in store(f"{path}/new", "check")


def chunks(data):
    """Of a mosquitto.db: its header, and (kind, bytes) one by one."""
    found, at = [], 23
    while at < len(data):
        kind, length = struct.unpack_from(">II", data, at)
        found.append((kind, data[at:at + 8 + length]))
        at += 8 + length
    return data[:23], found


@case("nightjar-store says what of a mosquitto.db it leaves out")
def import_leaves_out(_t):
    with folder() as path:
        with open(mosquitto_db(path), "rb") as file:
            head, found = chunks(file.read())
        kept = [data for kind, data in found if not (kind == 6 and data.endswith(b"old"))]
        assert len(kept) == len(found) - 1
        with open(f"{path}/partly", "wb") as file:
            file.write(head + b"".join(kept) + struct.pack(">II", 99, 3) + b"new")
        said = store(f"{path}/new", "import-mosquitto", f"{path}/partly")
        assert "1 sessions with 1 subscriptions and 1 messages on their way" in said, said
        assert "1 subscriptions, 2 messages on their way, 0 retained messages" in said, said
        assert "not known here: 1 chunks" in said, said
        assert "is whole" in store(f"{path}/new", "check")


@case("The broker serves what nightjar-store has taken from a mosquitto.db")
def serve_imported(_t):
    with folder() as path:
        database = mosquitto_db(path)
        store(f"{path}/new", "import-mosquitto", database)
        with running(f"persistence true\npersistence_location {path}/new\nuser root\n") as broker:
            got = run(*tool("mosquitto_sub", broker.port, 4, "-i", "old", "-c", "-q", "1",
                            "-t", "a/#", "-C", "2", "-F", "%t %p"))
            equal(got.splitlines(), ["a/b hello", "a/c kept"])
            got = run(*tool("mosquitto_sub", broker.port, 5, "-i", "new", "-c", "-x", "600",
                            "-q", "2", "-t", "a/b", "-C", "1", "-F", "%t %p %P"))
            equal(got.strip(), "a/b hello k:v")
            got = run(*tool("mosquitto_sub", broker.port, 5, "-t", "r/#", "-C", "1",
                            "-F", "%t %p %r"))
            equal(got.strip(), "r/x kept too 1")


@case("nightjar-store says what is wrong with a mosquitto.db that is damaged, older, or none")
def import_damaged(_t):
    with folder() as path:
        database = mosquitto_db(path)
        with open(database, "rb") as file:
            good = file.read()

        def told(data):
            with open(f"{path}/bad", "wb") as file:
                file.write(data)
            text = refused(f"{path}/never", "import-mosquitto", f"{path}/bad")
            assert not os.path.exists(f"{path}/never/nightjar.db"), text
            return text

        assert "no mosquitto.db" in told(b"something else entirely, and long enough for it")
        assert "version 5" in told(good[:19] + b"\0\0\0\5" + good[23:])
        assert "makes no sense" in told(good[:-7])
        assert "makes no sense" in told(good[:27] + b"\xff\xff\xff\xff" + good[31:])
        store(f"{path}/new", "import-mosquitto", database)
        assert "already" in refused(f"{path}/new", "import-mosquitto", database)


@case("nightjar-store export and import give the same store again")
def round_trip(_t):
    with folder() as path:
        store(f"{path}/one", "import-mosquitto", mosquitto_db(path))
        store(f"{path}/one", "export", f"{path}/lines")
        store(f"{path}/two", "import", f"{path}/lines")
        with open(f"{path}/lines", encoding="utf-8") as file:
            equal(sorted(store(f"{path}/two", "export").splitlines()),
                  sorted(file.read().splitlines()))
        # Those that mosquitto's file has none of.
        more = [
            {"type": "store", "format": 1, "next_id": 9, "next_number": 100, "next_record": 50,
             "retained_version": 7},
            {"type": "session", "id": 3, "name": "c", "mqtt": 5, "expiry_s": 60, "offline_ms": 5},
            {"type": "group", "id": 4, "name_base64": "AAFnLw==", "mqtt": 0, "expiry_s": 0},
            {"type": "will", "id": 3, "due_ms": 17, "delay_s": 3, "expiry_s": 9, "message":
             {"topic": "w", "payload_base64": "/wA=", "qos": 1, "flags": 1, "arrived_ms": 2}},
            {"type": "state", "id": 3, "done_below": 20, "done": [22, 25], "flights":
             [{"number": 20, "packet_id": 5, "state": 1, "qos": 2},
              {"number": 19, "packet_id": 4, "state": 2, "qos": 2}], "received": [77, 3]},
            {"type": "message", "record": 40, "message":
             {"topic": "t", "payload": "body", "properties_base64": "AQE=", "qos": 2, "flags": 0,
              "arrived_ms": 1, "expires_ms": 9, "client_id": "p", "listener": 1},
             "receivers": [{"id": 3, "number": 20, "qos": 2, "subscription_ids": [1, 70000]},
                           {"id": 4, "number": 21, "qos": 1, "retain": True}]},
        ]
        store(f"{path}/three", "import", stdin="".join(json.dumps(m) + "\n" for m in more))
        records = {r["type"]: r for r in lines(f"{path}/three")}
        for record in more:
            again = records[record["type"]]
            for name, value in record.items():
                equal(again[name], value)
        assert "is whole" in store(f"{path}/three", "check")


@case("nightjar-store names the line and the member that make no sense, and leaves nothing")
def import_bad_lines(_t):
    with folder() as path:
        for text, told in (("{", "line 1: this is no JSON"),
                           ('{"type":"session","name":"a"}', "line 1: this member makes no sense: id"),
                           ('{"type":"session","id":1,"name":"a"}\n{"type":"soup"}', "line 2"),
                           ('{"type":"store","format":99}', "format"),
                           ('\n\n{"type":"soup"}', "line 3"),
                           ('{"type":"session","id":1.5,"name":"a"}', "id"),
                           ('{"type":"session","id":1,"name":""}', "name"),
                           ('{"type":"subscription","id":1,"filter":"a/#/b"}', "filter"),
                           ('{"type":"subscription","id":1,"filter":"$share/g"}', "filter"),
                           ('{"type":"retained","topic":"a/+","payload":"x"}', "topic"),
                           ('{"type":"state","id":5,"done_below":1,"done":["x"]}', "done"),
                           ('{"type":"state","id":5,"done_below":1,"done":[9,9]}', "done"),
                           ('{"type":"state","id":5,"done_below":1,"received":[65536]}', "received"),
                           ('{"type":"message","record":0,"message":{"topic":"t"}}', "record"),
                           ('{"type":"message","record":3,"body_record":3,"receivers":[]}', "record"),
                           ('{"type":"message","record":3,"message":{"topic":"t"},"receivers":'
                            '[{"id":1,"number":0}]}', "receivers"),
                           ('{"type":"message","record":3,"message":{"topic":"t"},"receivers":'
                            '[{"id":1,"number":1,"subscription_ids":[-1]}]}', "subscription_ids"),
                           ('{"type":"state","id":5,"done_below":1}', "no such session")):
            with open(f"{path}/lines", "w", encoding="ascii") as file:
                file.write(text + "\n")
            said = refused(f"{path}/store", "import", f"{path}/lines")
            assert told in said, (text, said)
            assert not os.path.exists(f"{path}/store/nightjar.db"), text


@case("Lines that cannot be read to the end make no store")
def import_unreadable(_t):
    with folder() as path:
        assert "Cannot read line 1: Is a directory" in refused(f"{path}/store", "import", path)
        assert not os.path.exists(f"{path}/store/nightjar.db")


@case("Of a filter or topic that stands in two lines the last one counts")
def import_twice(_t):
    with folder() as path:
        twice = [{"type": "session", "id": 1, "name": "s", "mqtt": 5, "expiry_s": 60}]
        for qos in (0, 1):
            twice.append({"type": "subscription", "id": 1, "filter": "a", "qos": qos})
            twice.append({"type": "retained", "topic": "a", "payload": str(qos), "version": qos + 1})
        import_lines(f"{path}/store", twice)
        records = lines(f"{path}/store")
        equal([s["qos"] for s in of_type(records, "subscription")], [1])
        equal([r["payload"] for r in of_type(records, "retained")], ["1"])


@case("Messages whose numbers fall are refused, or left out")
def import_out_of_order(_t):
    with folder() as path:
        records = [{"type": "session", "id": 1, "name": "s", "mqtt": 5, "expiry_s": 60}]
        for record, number in ((1, 5), (2, 3), (3, 6)):
            records.append({"type": "message", "record": record, "message": {"topic": "t"},
                            "receivers": [{"id": 1, "number": number, "qos": 1}]})
        with open(f"{path}/lines", "w", encoding="ascii") as file:
            file.write("".join(json.dumps(r) + "\n" for r in records))
        assert "not in the order" in refused(f"{path}/store", "import", f"{path}/lines")
        import_lines(f"{path}/store", records, "--partly")
        equal([m["record"] for m in of_type(lines(f"{path}/store"), "message")], [1, 3])


@case("nightjar-store finds damage, backs up, and compacts")
def damage_backup_compact(_t):
    with folder() as path:
        store(f"{path}/one", "import-mosquitto", mosquitto_db(path))
        store(f"{path}/one", "backup", f"{path}/copy")
        equal(sorted(store(f"{path}/copy", "export").splitlines()),
              sorted(store(f"{path}/one", "export").splitlines()))
        assert "overwrites nothing" in refused(f"{path}/one", "backup", f"{path}/copy")
        before = sorted(store(f"{path}/one", "export").splitlines())
        assert "is whole" in store(f"{path}/one", "compact")
        equal(sorted(store(f"{path}/one", "export").splitlines()), before)
        assert "retained a/c, 4 bytes" in store(f"{path}/one", "dump")
        with open(f"{path}/one/nightjar.db", "r+b") as file:
            data = file.read()
            at = data.rindex(b"kept too")
            file.seek(at)
            file.write(b"KEPT")
        said = refused(f"{path}/one", "check")
        assert "table retained" in said and "Nothing was changed" in said, said
        assert "There is no store" in refused(f"{path}/nowhere", "check")


def config_of(path, *options):
    return "\n".join(["persistence true", f"persistence_location {path}", "user root", *options, ""])


@case("A backup of a running broker, and commands that need it stopped")
def beside_a_broker(_t):
    with folder() as path:
        with Broker(config_of(f"{path}/store")) as broker:
            pub(broker.port, "-t", "a", "-q", "1", "-r", "-m", "first")
            store(f"{path}/store", "backup", f"{path}/copy")
            equal([r["payload"] for r in of_type(lines(f"{path}/copy"), "retained")], ["first"])
            assert "is whole" in store(f"{path}/store", "check")
            assert "stop it first" in refused(f"{path}/store", "compact")
            assert "stop it first" in refused(f"{path}/store", "import", "/dev/null")
        with running(config_of(f"{path}/copy")) as broker:
            got = run(*tool("mosquitto_sub", broker.port, 5, "-t", "a", "-C", "1"))
            equal(got.strip(), "first")


def owner(path):
    status = os.stat(path)
    return status.st_uid, status.st_gid, status.st_mode & 0o777


@case("A copy belongs to whom the store belongs to, and nobody else may read it")
def owners(_t):
    with folder() as path:
        records = [{"type": "session", "id": 1, "name": "s", "mqtt": 5, "expiry_s": 60}]
        user = (1234, 1235) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        os.mkdir(f"{path}/one", 0o700)
        os.chown(f"{path}/one", *user)
        import_lines(f"{path}/one", records)
        equal(owner(f"{path}/one/nightjar.db"), (*user, 0o600))
        store(f"{path}/one", "check")
        store(f"{path}/one", "compact")
        for name in ("nightjar.db", "nightjar.db-lock", "nightjar.db.lock"):
            equal(owner(f"{path}/one/{name}"), (*user, 0o600))
        os.mkdir(f"{path}/copy", 0o755)
        store(f"{path}/one", "backup", f"{path}/copy")
        equal(owner(f"{path}/copy/nightjar.db")[2], 0o600)


def other_user(directory, *command, expect=0):
    """As a user who owns nothing there; what it says on both channels."""
    done = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                           store_program(), "-d", directory, *command],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    equal(done.returncode, expect)
    return done.stdout + done.stderr


@contextlib.contextmanager
def open_folder():
    """A folder that every user may look into."""
    if os.geteuid() != 0:
        raise Skip("to become another user needs root")
    with folder() as path:
        os.chmod(path, 0o755)
        yield path


def readable_by_all(directory):
    os.chmod(directory, 0o755)
    for entry in os.scandir(directory):
        os.chmod(entry.path, 0o644)


SESSION = {"type": "session", "id": 1, "name": "watched", "mqtt": 5, "expiry_s": 60}


@case("Who may only read a copy of a store can check, dump, export and copy it")
def read_only_user(_t):
    with open_folder() as path:
        import_lines(f"{path}/one", [SESSION])
        readable_by_all(f"{path}/one")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}/one/nightjar.db-lock")
        before = sorted(os.listdir(f"{path}/one"))
        said = other_user(f"{path}/one", "check")
        assert "without it, because no broker uses it" in said and "is whole" in said, said
        assert "watched" in other_user(f"{path}/one", "dump")
        assert "watched" in other_user(f"{path}/one", "export")
        os.mkdir(f"{path}/copy")
        os.chmod(f"{path}/copy", 0o777)
        assert "is whole" in other_user(f"{path}/one", "backup", f"{path}/copy")
        equal(sorted(os.listdir(f"{path}/one")), before)


@case("Where cannot be seen whether a broker uses a store, --no-lock says that none does")
def no_lock(_t):
    with open_folder() as path:
        import_lines(f"{path}/one", [SESSION])
        readable_by_all(f"{path}/one")
        os.chmod(f"{path}/one/nightjar.db.lock", 0o600)
        said = other_user(f"{path}/one", "check", expect=1)
        assert "say --no-lock" in said and "whole" not in said, said
        said = other_user(f"{path}/one", "--no-lock", "check")
        assert "because you say so" in said and "is whole" in said, said


@case("The store of a running broker is not read without its lock")
def no_lock_beside_a_broker(_t):
    with open_folder() as path, running(config_of(f"{path}/store")) as broker:
        pub(broker.port, "-t", "a", "-q", "1", "-r", "-m", "kept")
        readable_by_all(f"{path}/store")
        for options in ([], ["--no-lock"]):
            said = other_user(f"{path}/store", *options, "check", expect=1)
            assert "A broker uses" in said and "look at a backup" in said, said
        assert "is whole" in store(f"{path}/store", "check")


@case("A store on a file system that is mounted read only can be looked at, unless a broker uses it")
def read_only_mount(_t):
    with open_folder() as path:
        os.mkdir(f"{path}/mount")
        with running(config_of(f"{path}/store")) as broker:
            pub(broker.port, "-t", "a", "-q", "1", "-r", "-m", "kept")
            with tmpfs.mounted_read_only(f"{path}/store", f"{path}/mount"):
                assert "A broker uses" in refused(f"{path}/mount", "check")
                broker.stop()
                assert "is whole" in store(f"{path}/mount", "check")
                assert "kept" in store(f"{path}/mount", "export")


@case("A backup of a broker of durability process that was killed has all that was acknowledged")
def backup_with_rings(_t):
    with folder() as path:
        with running(config_of(f"{path}/store", "durability process")) as broker:
            sub_once(broker.port, "-i", "away", "-c", "-x", "600", "-q", "1", "-t", "a")
            pub(broker.port, "-t", "a", "-q", "1", "-l", stdin="1\n2\n3\n")
            said = store(f"{path}/store", "backup", f"{path}/early")
            assert "durability process" in said, said
            broker.expect_exit = -9
            broker.proc.kill()
            broker.proc.wait(DEADLINE_S)
            store(f"{path}/store", "backup", f"{path}/copy")
            equal([m["message"]["payload"] for m in of_type(lines(f"{path}/copy"), "message")],
                  ["1", "2", "3"])


@case("What the broker says about a mosquitto.db can be done as it says")
def as_the_log_says(_t):
    with folder() as path:
        os.mkdir(f"{path}/store", 0o700)
        os.rename(mosquitto_db(path), f"{path}/store/mosquitto.db")
        with running(config_of(f"{path}/store")) as broker:
            said = broker.wait_log("run: nightjar-store -d (.*)").group(1)
            broker.stop()
            store(*said.split())
            broker.start_again()
            got = run(*tool("mosquitto_sub", broker.port, 5, "-t", "r/#", "-C", "1"))
            equal(got.strip(), "kept too")


def many(path):
    """A store with some pages of retained messages, a session, and messages for it."""
    records = [{"type": "session", "id": 1, "name": "s", "mqtt": 5, "expiry_s": 60},
               {"type": "subscription", "id": 1, "filter": "t", "qos": 1}]
    for n in range(1, 201):
        records.append({"type": "retained", "topic": f"r/{n}", "payload": f"value {n:04} " * 10,
                        "qos": 1, "flags": 1, "arrived_ms": 1, "version": n})
        records.append({"type": "message", "record": n, "message":
                        {"topic": "t", "payload": f"body {n:04} " * 10, "qos": 1, "arrived_ms": 1},
                        "receivers": [{"id": 1, "number": n, "qos": 1}]})
    import_lines(path, records)
    return pathlib.Path(path, "nightjar.db")


def saved(path, told):
    """How many retained messages and messages export and import save of a damaged store."""
    done = subprocess.run([store_program(), "-d", f"{path}/one", "export", f"{path}/lines"],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    equal(done.returncode, 1)
    assert told in done.stderr, done.stderr
    store(f"{path}/two", "import", "--partly", f"{path}/lines")
    assert "is whole" in store(f"{path}/two", "check")
    records = lines(f"{path}/two")
    return len(of_type(records, "retained")), len(of_type(records, "message"))


@case("Of a store with damage in one record, all others can be saved")
def one_record_is_damaged(_t):
    with folder() as path:
        file = many(f"{path}/one")
        good = file.read_bytes()
        file.write_bytes(good.replace(b"value 0100", b"VALUE 0100"))
        done = subprocess.run([store_program(), "-d", f"{path}/one", "check"], capture_output=True,
                              text=True, timeout=DEADLINE_S, check=False)
        equal(done.returncode, 1)
        assert "199 can be read, 1 cannot" in done.stdout, done.stdout
        assert "import --partly" in done.stdout, done.stdout
        equal(saved(path, "left out are 1 records, and 0 pages"), (199, 200))


@case("Of a store with a page that is gone, what is on the others can be saved")
def one_page_is_gone(_t):
    with folder() as path:
        file = many(f"{path}/one")
        good = file.read_bytes()
        at = good.index(b"value 0100") // 4096 * 4096
        file.write_bytes(good[:at] + bytes(4096) + good[at + 4096:])
        assert "page" in refused(f"{path}/one", "check")
        retained, messages = saved(path, "and 1 pages with what was on them")
        assert 150 <= retained < 200, retained
        equal(messages, 200)


@case("Where a session cannot be read, the rest is saved without what names it")
def a_session_is_damaged(_t):
    with folder() as path:
        file = many(f"{path}/one")
        good = file.read_bytes()
        at = good.rindex(b"\x01s\0\0")    # its name, without a user and a listener
        file.write_bytes(good[:at + 1] + b"S" + good[at + 2:])
        said = subprocess.run([store_program(), "-d", f"{path}/one", "export", f"{path}/lines"],
                              capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert "table sessions is damaged" in said.stderr, said.stderr
        assert "there is no such session" in refused(f"{path}/two", "import", f"{path}/lines")
        assert not os.path.exists(f"{path}/two/nightjar.db")
        told = store(f"{path}/two", "import", "--partly", f"{path}/lines")
        assert "not among the lines: 1 records" in told, told
        equal(len(of_type(lines(f"{path}/two"), "retained")), 200)


@case("A store of a newer version is refused by the broker and by nightjar-store, and left as it is")
def newer_version(_t):
    nightjar_only()
    with folder() as path:
        config = f"persistence true\npersistence_location {path}/store\nuser root\n"
        file = pathlib.Path(path, "store", "nightjar.db")
        with running(config) as broker:
            pub(broker.port, "-t", "a", "-q", "1", "-r", "-m", "kept")
            broker.stop()
            good = file.read_bytes()
            # The META record: key 0, then the record's version and the format.
            newer = good.replace(bytes(8) + b"\x01\x01\0\0\0", bytes(8) + b"\x01\x07\0\0\0")
            assert newer != good
            file.write_bytes(newer)
            broker.expect_exit = 1
            broker._spawn()
            equal(broker.proc.wait(DEADLINE_S), 1)
            broker.wait_log("format 7, and this version knows formats up to 1.*newer version")
            broker.check()
            if not is_thread_sanitized():
                for command in (["check"], ["dump"], ["export"], ["compact"],
                                ["backup", f"{path}/copy"]):
                    assert "newer version" in refused(f"{path}/store", *command), command
            equal(file.read_bytes(), newer)
            file.write_bytes(good)
            broker.expect_exit = 0
            broker.start_again()
            got = run(*tool("mosquitto_sub", broker.port, 5, "-t", "a", "-C", "1"))
            equal(got.strip(), "kept")
