# SPDX-License-Identifier: Apache-2.0
"""Starting: the command line, ports in use, files that are missing, users, mosquitto's own
configuration files, and a system that has no more descriptors."""
import contextlib
import os
import pathlib
import random
import re
import socket
import subprocess
import tempfile
import time

from harness.broker import BrokerError, default_bin, free_port, wait_until
from harness.mqtt_raw import V311, V5, Client
from harness.runner import Skip, case
from support import (DEADLINE_S, Nobody, Sub, copy_program, cpu_seconds, equal, is_nightjar,
                     mosquitto_file, need, need_root,
                     nightjar_only, proc_status, pub, run, run_both, running, start_and_fail,
                     wait_exit)


def _connect(broker, name, version=V5, **connect_args):
    client = Client(broker.port, version, client_id=name, name=name)
    client.open(**connect_args)
    return client


# -- ports ----------------------------------------------------------------------------------------


def _second_start_fails(listener):
    with running() as broker:
        code, output, _ = start_and_fail(listener.format(port=broker.port))
        equal(code, 1)
        assert "in use" in output.lower(), output
        if broker.is_nightjar:
            assert str(broker.port) in output, output
        _connect(broker, "c").expect_alive()


@case("A second instance on the same port says so and exits with 1")
def port_in_use(_t):
    _second_start_fails("listener {port} 127.0.0.1\n")


@case("A second instance on all addresses with the same port exits with 1 as well")
def port_in_use_wildcard(_t):
    _second_start_fails("listener {port}\n")


@case("A second instance with the same configuration leaves the first one's pid file alone")
def second_pid_file(_t):
    nightjar_only()
    with running("listener {port} 127.0.0.1\npid_file {dir}/pid\n") as broker:
        _connect(broker, "c").expect_alive()       # the pid file is there
        code, _output, _ = start_and_fail(f"listener {broker.port} 127.0.0.1\n"
                                          f"pid_file {broker.path('pid')}\n")
        equal(code, 1)
        equal(int(pathlib.Path(broker.path("pid")).read_text(encoding="ascii")), broker.pid)


@case("An address that is not of this machine is a clear error")
def foreign_address(_t):
    code, output, _ = start_and_fail(f"listener {free_port()} 192.0.2.77\n")
    equal(code, 1)
    assert "192.0.2.77" in output or not default_bin().endswith("nightjar"), output


@case("A privileged port is a clear error for a user without rights")
def privileged_port(_t):
    nightjar_only()
    need_root()
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        if int(file.read()) <= 97:
            raise Skip("every port may be opened by everyone here")
    with _binary_for_all() as binary:
        code, output, _ = start_and_fail("listener 97 127.0.0.1\n", wrap=Nobody.PREFIX,
                                         binary=binary)
    equal(code, 1)
    assert "97" in output and "ermission" in output, output


# -- command line ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _spawned(*args, port):
    proc = subprocess.Popen([default_bin(), *map(str, args)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        def listens():
            if proc.poll() is not None:
                raise BrokerError("it ended: " + proc.stdout.read())
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False
        wait_until(listens, DEADLINE_S, f"a listener on {port}")
        yield proc
        proc.terminate()
        equal(wait_exit(proc), 0)
    finally:
        if proc.poll() is None:
            proc.kill()
            proc.wait()


@case("Without a configuration it serves this machine only, without passwords, and says so")
def no_configuration(_t):
    port = free_port()
    with _spawned("-p", port, port=port) as proc:
        with Sub(port, "-t", "hello/#", "-q", 1) as sub:
            pub(port, "-t", "hello/world", "-m", "first words", "-q", 1)
            equal(sub.message(), "hello/world|1|0|first words")
        for address in run("hostname", "-I", expect=None).split():
            if ":" not in address:
                equal(_can_connect(address, port), False)
        with contextlib.suppress(OSError):
            socket.create_connection(("::1", port), 5).close()
        proc.terminate()
        output = proc.communicate(timeout=DEADLINE_S)[0]
        assert re.search(r"local|this machine", output), output


def _can_connect(address, port):
    try:
        socket.create_connection((address, port), 5).close()
        return True
    except OSError:
        return False


@case("-h explains the options and --version says the version")
def help_and_version(_t):
    nightjar_only()
    text = run_both(default_bin(), "-h", expect=None)
    for option in ("-c", "-d", "-p", "-v", "--test-config", "--version"):
        assert option in text, text
    assert re.search(r"\d+\.\d+\.\d+", run_both(default_bin(), "--version")), "no version"


@case("A wrong argument is named, with exit code 1 or above")
def wrong_argument(_t):
    nightjar_only()
    for args, word in ((["--frobnicate"], "frobnicate"), (["-p", "70000"], "70000"),
                       (["-c"], "-c"), (["-c", "/nowhere/x.conf"], "/nowhere/x.conf")):
        done = subprocess.run([default_bin(), *args], capture_output=True, text=True, check=False,
                              timeout=DEADLINE_S)
        assert done.returncode > 0 and word in done.stdout + done.stderr, (args, done)


@case("--test-config checks and exits, with each error's file and line")
def test_config(_t):
    nightjar_only()
    with running() as broker:       # its port is in use: a check does not mind
        good = broker.path("broker.conf")
        run_both(default_bin(), "-c", good, "--test-config")
        broker.write("bad.conf", "listener 1883\nmax_queued_messages lots\nno_such_option 1\n"
                     "acl_file {dir}/missing\n")
        output = run_both(default_bin(), "-c", broker.path("bad.conf"), "--test-config", expect=1)
        for word in ("bad.conf:2", "max_queued_messages", "lots", "bad.conf:3", "no_such_option"):
            assert word in output, output


@case("-d goes to the background, with a pid file that goes at the end")
def daemon(_t):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        port = free_port()
        conf = pathlib.Path(folder, "d.conf")
        conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n"
                        f"pid_file {folder}/pid\nlog_dest file {folder}/log\n", encoding="ascii")
        run_both(default_bin(), "-c", conf, "-d")
        wait_until(lambda: _can_connect("127.0.0.1", port), DEADLINE_S, "the daemon")
        pid = int(pathlib.Path(folder, "pid").read_text(encoding="ascii"))
        Client(port, V5, client_id="c").open()
        os.kill(pid, 15)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid), DEADLINE_S,
                   "the daemon's end")
        if "nightjar" in default_bin():
            assert not os.path.exists(f"{folder}/pid"), "the pid file was left"


@case("-d: what keeps the broker from serving is said, and is exit code 1")
def daemon_fails(_t):
    nightjar_only()
    with running() as broker:
        code, output, _ = start_and_fail(f"listener {broker.port} 127.0.0.1\n"
                                         "log_dest file {dir}/log\npid_file {dir}/pid\n", "-d")
        equal(code, 1)
        assert "in use" in output.lower() and str(broker.port) in output, output


def _is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@case("-v logs everything")
def verbose(_t):
    port = free_port()
    with _spawned("-p", port, "-v", port=port) as proc:
        with Sub(port, "-i", "loud-client", "-t", "a"):
            pass
        proc.terminate()
        output = proc.communicate(timeout=DEADLINE_S)[0]
        assert "loud-client" in output and "SUBSCRIBE" in output.upper(), output


# -- bad configurations ---------------------------------------------------------------------------

BAD = [
    ("no_such_option 1\n", ["broker.conf:1", "no_such_option"]),
    ("max_inflight_messages many\n", ["broker.conf:1", "max_inflight_messages", "many"]),
    ("max_inflight_messages 65536\n", ["broker.conf:1", "65536"]),
    ("listener\n", ["broker.conf:1", "listener"]),
    ("listener 99999\n", ["broker.conf:1", "99999"]),
    ("allow_anonymous perhaps\n", ["broker.conf:1", "allow_anonymous", "perhaps"]),
    ("log_type loud\n", ["broker.conf:1", "loud"]),
    ("log_dest nowhere\n", ["broker.conf:1", "nowhere"]),
    ("\n# x\nworker_threads 257\n", ["broker.conf:3", "257", "256"]),
    ("persistent_client_expiration 5x\n", ["broker.conf:1", "5x"]),
    ("cafile /etc/ca.crt\n", ["broker.conf:1", "'cafile' stands above the first listener"]),
    ("tls_engine pkcs11\n", ["broker.conf:1", "'tls_engine' is not supported yet"]),
    ("connection bridge\n", ["broker.conf:1", "'connection' is not supported yet"]),
    ("plugin /usr/lib/x.so\n", ["broker.conf:1", "'plugin' is not supported yet"]),
    ("acl_file {dir}/missing\n", ["{dir}/missing"]),
    ("password_file {dir}/missing\n", ["{dir}/missing"]),
    ("include_dir {dir}/missing\n", ["{dir}/missing"]),
    ("pid_file /proc/nowhere/pid\n", ["/proc/nowhere"]),
]


@case("A bad configuration stops the start with file, line and what was found")
def bad_configurations(_t):
    nightjar_only()
    for text, words in BAD:
        code, output, _ = start_and_fail(text + f"listener {free_port()} 127.0.0.1\n")
        assert code == 1 and all(word in output for word in words), (text, words, code, output)


@case("Broken rights and passwords stop the start with file and line")
def bad_access_files(_t):
    nightjar_only()
    for option, text in (("acl_file", "topic read a\nuser\n"), ("acl_file", "topic read a\nwrong\n"),
                         ("acl_file", "topic read a\ntopic readwrit b\n"),
                         ("password_file", "ann:$7$bad\nx\n")):
        line = 1 if option == "password_file" else 2
        code, output, _ = start_and_fail(f"listener {free_port()} 127.0.0.1\n{option} {{dir}}/f\n",
                                         files={"f": text})
        assert code == 1 and re.search(rf"/f:{line}\b", output), (text, code, output)


@case("Mosquitto's options for its database that have no meaning here start with a warning")
def persistence_warns(_t):
    nightjar_only()
    with running("persistence true\npersistence_location {dir}/store\npersistence_file m.db\n"
                 "autosave_interval 60\n") as broker:
        broker.wait_log(r"(?i)warning.*'persistence_file' has no effect")
        broker.wait_log(r"(?i)warning.*'autosave_interval' has no effect")


@case("include_dir brings in each .conf file")
def include_dir(_t):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        pathlib.Path(folder, "a.conf").write_text("max_inflight_messages 3\n", encoding="ascii")
        pathlib.Path(folder, "b.txt").write_text("nonsense\n", encoding="ascii")
        with running(f"include_dir {folder}\n") as broker:
            equal(_connect(broker, "c").connack.properties["receive_maximum"], 3)


# -- users ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _binary_for_all():
    """The broker's program where every user may run it: a checkout can lie in a home folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield copy_program(default_bin(), folder)


def _uids(pid):
    """The effective users of all threads."""
    return {int(re.search(r"^Uid:\s+\d+\s+(\d+)", pathlib.Path(task, "status").read_text(
        encoding="ascii", errors="replace"), re.MULTILINE).group(1))
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}


@case("As root it becomes the configured user, in every thread")
def drop_to_user(_t):
    need_root()
    with running("user nobody\n") as broker:
        _connect(broker, "c").expect_alive()
        equal(_uids(broker.pid), {65534})


@case("As root without a word about users it does not stay root")
def drop_by_default(_t):
    nightjar_only()
    need_root()
    with running() as broker:
        _connect(broker, "c").expect_alive()
        assert 0 not in _uids(broker.pid), _uids(broker.pid)


def _privileged_port():
    ports = list(range(600, 1023))
    random.shuffle(ports)       # another run on this machine may look for one, too
    for port in ports:
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise Skip("no privileged port is free")


@case("As root it opens privileged ports, and files of root, before it becomes another user")
def privileged_before_drop(_t):
    nightjar_only()
    need_root()
    port = _privileged_port()
    with running(f"listener {{port}} 127.0.0.1\nlistener {port} 127.0.0.1\nuser nobody\n"
                 "pid_file {dir}/pid\nlog_dest file {dir}/log\n") as broker:
        pub(port, "-t", "a", "-m", "b", "-q", 1)
        equal(int(pathlib.Path(broker.path("pid")).read_text(encoding="ascii")), broker.pid)


@case("Names of files without a folder lie in the working directory")
def bare_names(_t):
    nightjar_only()
    with running("log_dest file log\npid_file pid\ncontrol_socket control\n") as broker:
        _connect(broker, "c").expect_alive()
        for name in ("log", "pid", "control"):
            assert os.path.exists(broker.path(name)), name


@case("A file that a path names by mistake is neither removed nor overwritten")
def precious_files(_t):
    nightjar_only()
    for line, text in (("control_socket {path}", "not a socket"), ("listener 0 {path}", "not a socket"),
                       ("pid_file {path}", "process id")):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "precious")
            path.write_text("12 or more\n", encoding="ascii")
            config = f"listener {free_port()} 127.0.0.1\n{line.format(path=path)}\n"
            code, output, _ = start_and_fail(config)
            equal((code, text in output and str(path) in output), (1, True))
            equal(path.read_text(encoding="ascii"), "12 or more\n")


@case("The pid file of a killed broker is used again, and a device is left where it is")
def pid_file_again(_t):
    nightjar_only()
    with running("pid_file {dir}/pid\n", files={"pid": "123456789\n"}) as broker:
        _connect(broker, "c").expect_alive()       # the pid file is there
        equal(pathlib.Path(broker.path("pid")).read_text(encoding="ascii"), f"{broker.pid}\n")
    before = os.stat("/dev/zero")
    with running("pid_file /dev/zero\nlog_dest file /dev/zero\n") as broker:
        _connect(broker, "c").expect_alive()
    after = os.stat("/dev/zero")
    equal((after.st_ino, after.st_uid), (before.st_ino, before.st_uid))


@case("As root: a folder that it makes for the log is the user's, who opens the log there again")
def made_folder(_t):
    nightjar_only()
    need_root()
    with running("user nobody\nlog_dest file {dir}/made/here/log\nlog_type all\n") as broker:
        _connect(broker, "c").expect_alive()
        os.rename(broker.path("made/here/log"), broker.path("made/here/log.1"))
        broker.reload()
        wait_until(lambda: os.path.exists(broker.path("made/here/log")), DEADLINE_S,
                   "the new log file")


@case("An unknown user is a clear error")
def unknown_user(_t):
    need_root()
    code, output, _ = start_and_fail(f"listener {free_port()} 127.0.0.1\nuser no-such-user\n")
    equal(code, 1)
    assert "no-such-user" in output, output


@case("A user without rights starts it as well")
def as_user(_t):
    need_root()
    with _binary_for_all() as binary:
        with running("log_dest file {dir}/log\npid_file {dir}/pid\n", wrap=Nobody.PREFIX,
                     binary=binary) as broker:
            with Sub(broker.port, "-t", "#", "-q", 1) as sub:
                pub(broker.port, "-t", "a", "-m", "b", "-q", 1)
                equal(sub.message(), "a|1|0|b")


@case("A folder that is missing for the log is made, or named when it cannot be")
def log_folder(_t):
    nightjar_only()
    with running("log_dest file {dir}/new/folder/log\n") as broker:
        _connect(broker, "c").leave()
        assert os.path.exists(broker.path("new/folder/log"))
    code, output, _ = start_and_fail(f"listener {free_port()} 127.0.0.1\n"
                                     "log_dest file /proc/nowhere/log\n")
    assert code == 1 and "/proc/nowhere" in output, output


# -- mosquitto's files ----------------------------------------------------------------------------

STOCK = """
set -e
ip link set lo up
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mount -t tmpfs tmpfs /var/lib
{prepare}
$WRAP "$BROKER" -c "$CONF" >"$OUT" 2>&1 &
pid=$!
for i in $(seq 600); do
    mosquitto_pub -p {port} {login} -t {topic} -m kept -r -q 1 2>/dev/null && break
    kill -0 $pid || {{ cat "$OUT"; exit 9; }}
    sleep 0.1
done
mosquitto_sub -p {port} {login} -t {topic} -C 1 -W 60 -v
{check}
kill $pid
wait $pid
echo "ended with $?"
"""


def _in_namespaces(conf, port=1883, wrap="", prepare="", check="", login="", topic="a/b"):
    """Start the broker with a file that names the system's folders and ports, in namespaces where
    these are empty, and use it from there. Returns what was printed."""
    need_root()
    for program in ("unshare", "ip"):
        need(program)
    if subprocess.run(["unshare", "-m", "-n", "true"], check=False,
                      capture_output=True).returncode != 0:
        raise Skip("no namespaces here")
    with _binary_for_all() as binary, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        script = STOCK.format(prepare=prepare, check=check, port=port, login=login, topic=topic)
        env = {"WRAP": wrap, "BROKER": binary, "CONF": conf,
               "OUT": os.path.join(folder, "out")}
        return run_both("unshare", "-m", "-n", "sh", "-c", script, env=env, deadline_s=200)


def _needs_etc():
    """include_dir /etc/mosquitto/conf.d has to exist: it comes with the package."""
    return "cp -a /etc /run/e; mount --bind /run/e /etc; mkdir -p /etc/mosquitto/conf.d\n"


@case("The stock mosquitto.conf starts unchanged, as root")
def stock_as_root(_t):
    output = _in_namespaces(mosquitto_file("etc", "mosquitto", "mosquitto.conf"),
                            prepare=_needs_etc() + _package_folders(),
                            check="test -s /var/log/mosquitto/mosquitto.log && echo logged; "
                                  "test -s /run/mosquitto/mosquitto.pid && echo pid")
    for word in ("a/b kept", "logged", "pid", "ended with 0"):
        assert word in output, output


def _package_folders(user="$(id -un nightjar 2>/dev/null || echo nobody)"):
    """What mosquitto's package and its unit make before the start, for who the broker becomes."""
    return "".join(f"mkdir -p {path}; chown {user} {path}\n" for path in
                   ("/run/mosquitto", "/var/log/mosquitto", "/var/lib/mosquitto"))


@case("The stock mosquitto.conf starts unchanged where its folders are missing, as root")
def stock_without_folders(_t):
    nightjar_only()
    output = _in_namespaces(mosquitto_file("etc", "mosquitto", "mosquitto.conf"),
                            prepare=_needs_etc())
    assert "a/b kept" in output and "ended with 0" in output, output


@case("The stock mosquitto.conf starts unchanged, as a user")
def stock_as_user(_t):
    output = _in_namespaces(mosquitto_file("etc", "mosquitto", "mosquitto.conf"),
                            prepare=_needs_etc() + _package_folders("nobody"),
                            wrap=" ".join(Nobody.PREFIX))
    assert "a/b kept" in output and "ended with 0" in output, output


@case("The full example mosquitto.conf of the package starts unchanged")
def stock_example(_t):
    output = _in_namespaces(mosquitto_file("usr", "share", "doc", "mosquitto", "examples",
                                           "mosquitto.conf"))
    assert "a/b kept" in output and "ended with 0" in output, output


def _stock_access(wrap=(), binary=None):
    etc = ("etc", "mosquitto")
    files = {name: pathlib.Path(mosquitto_file(*etc, name)).read_text(encoding="ascii")
             for name in ("aclfile.example", "pwfile.example")}
    with running("allow_anonymous true\npassword_file {dir}/pwfile.example\n"
                 "acl_file {dir}/aclfile.example\n", files=files, wrap=wrap,
                 binary=binary) as broker:
        port = broker.port
        roger = ["-u", "roger", "-P", "password"]
        with Sub(port, *roger, "-t", "foo/bar", "-q", 1) as sub:
            pub(port, *roger, "-t", "foo/bar", "-m", "mine", "-q", 1)
            equal(sub.message(), "foo/bar|1|0|mine")
        anyone = Client(port, V5, client_id="anyone")
        anyone.open()
        anyone.subscribe("$SYS/broker/version")
        refused = Client(port, V311, client_id="roger2")
        refused.open(reason=frozenset({4, 5}), username="roger", password=b"wrong")


@case("aclfile.example and pwfile.example of the package work unchanged, as root")
def stock_access_as_root(_t):
    _stock_access()


@case("aclfile.example and pwfile.example of the package work unchanged, as a user")
def stock_access_as_user(_t):
    need_root()
    with _binary_for_all() as binary:
        _stock_access(wrap=Nobody.PREFIX, binary=binary)


SMALL_DEPLOYMENT = """# Devices inside, people outside.
per_listener_settings false
allow_anonymous false
password_file {dir}/passwords
acl_file {dir}/acl
persistence true
persistence_location {dir}/STORE
log_dest file {dir}/broker-main.log
log_type error
log_type warning
log_type notice
max_queued_messages 5000
max_keepalive 600

listener {port} 127.0.0.1
max_connections 100

listener {port2} 127.0.0.1
max_connections -1
"""
SMALL_ACL = """# the operator sees everything
user operator
topic readwrite #
topic read $SYS/#

user dashboard
topic read devices/#
topic deny devices/secret/#

# each device has its own branch
pattern readwrite devices/%c/#
pattern read users/%u/inbox
"""


def _small_deployment(wrap=(), binary=None):
    passwords = run_password_file(["operator:op", "dashboard:db", "sensor:s"])
    # Others may write to the case's folder, so the store gets its own; mosquitto makes none.
    config = SMALL_DEPLOYMENT.replace("STORE", "store" if is_nightjar() else "")
    with running(config, files={"passwords": passwords, "acl": SMALL_ACL}, wrap=wrap,
                 binary=binary) as broker:
        inside, outside = broker.port, broker.ports["port2"]
        with Sub(outside, "-u", "dashboard", "-P", "db", "-t", "devices/#", "-q", 1) as board, \
                Sub(outside, "-u", "operator", "-P", "op", "-t", "#", "-q", 1) as operator:
            sensor = ["-u", "sensor", "-P", "s", "-i", "sensor-1", "-q", 1]
            pub(inside, *sensor, "-t", "devices/sensor-1/temp", "-m", "21")
            pub(inside, *sensor, "-t", "devices/sensor-2/temp", "-m", "forged", expect=None)
            pub(inside, "-u", "operator", "-P", "op", "-t", "devices/secret/x", "-m", "hush",
                "-q", 1)
            pub(inside, "-u", "operator", "-P", "op", "-t", "users/sensor/inbox", "-m", "hi",
                "-q", 1)
            pub(inside, *sensor, "-t", "devices/sensor-1/temp", "-m", "22")
            equal(board.take(2), ["devices/sensor-1/temp|1|0|21", "devices/sensor-1/temp|1|0|22"])
            equal(operator.take(4), ["devices/sensor-1/temp|1|0|21", "devices/secret/x|1|0|hush",
                                     "users/sensor/inbox|1|0|hi", "devices/sensor-1/temp|1|0|22"])
        pub(inside, "-t", "devices/x", "-m", "anonymous", expect=None)
        nobody = Client(inside, V311, client_id="nobody")
        nobody.open(reason=frozenset({4, 5}))


def run_password_file(lines):
    """The text of a password file made by mosquitto_passwd."""
    tool = mosquitto_file("usr", "bin", "mosquitto_passwd")
    with tempfile.NamedTemporaryFile("w+", encoding="ascii") as file:
        file.write("".join(line + "\n" for line in lines))
        file.flush()
        run(tool, "-U", file.name)
        return pathlib.Path(file.name).read_text(encoding="ascii")


@case("A small deployment: two listeners, passwords, rights with patterns, as root")
def small_deployment_as_root(_t):
    _small_deployment()


@case("A small deployment: two listeners, passwords, rights with patterns, as a user")
def small_deployment_as_user(_t):
    need_root()
    with _binary_for_all() as binary:
        _small_deployment(Nobody.PREFIX, binary)


# -- descriptors ----------------------------------------------------------------------------------

OUT_OF_DESCRIPTORS = r"(?i)too many open files|descriptor"


@case("Out of descriptors: new clients are closed, old ones are served, the processor rests")
def out_of_descriptors(_t):
    nightjar_only()
    need("prlimit")
    with running("worker_threads 2\n", wrap=["prlimit", "--nofile=96:96"]) as broker:
        witness = _connect(broker, "witness")
        extra = []
        for _number in range(150):
            extra.append(socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S))
        wait_until(lambda: sum(map(_is_closed, extra)) > 30, DEADLINE_S, "refused connections")
        assert sum(map(_is_closed, extra)) < 150
        broker.wait_log(OUT_OF_DESCRIPTORS)
        cpu, began = cpu_seconds(broker.pid), time.monotonic()
        lines = len(re.findall(OUT_OF_DESCRIPTORS, broker.log()))
        while time.monotonic() - began < 3:     # keep asking, as clients that come back do
            extra.append(socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S))
            witness.expect_alive()
            time.sleep(0.02)
        assert cpu_seconds(broker.pid) - cpu < 1.0, cpu_seconds(broker.pid) - cpu
        more = len(re.findall(OUT_OF_DESCRIPTORS, broker.log())) - lines
        seconds = time.monotonic() - began
        assert 1 <= more <= 5 + seconds, f"{more} lines in {seconds:.1f} seconds"
        for sock in extra:
            sock.close()
        wait_until(lambda: _accepts(broker), DEADLINE_S, "new clients after others went")
        witness.expect_alive()


def _is_closed(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def _accepts(broker):
    client = Client(broker.port, V5, client_id="later")
    try:
        client.open()
        return True
    except Exception:       # still refused: asked again until the deadline
        return False
    finally:
        client.close()


@case("The limit of descriptors is raised as far as allowed, and the number of clients logged")
def descriptor_limit(_t):
    nightjar_only()
    need("prlimit")
    with running(wrap=["prlimit", "--nofile=64:512"]) as broker:
        text = pathlib.Path(f"/proc/{broker.pid}/limits").read_text(encoding="ascii")
        equal(re.search(r"Max open files\s+(\d+)", text).group(1), "512")
        broker.wait_log(r"(?i)\d+ (clients|connections)|(clients|connections)\D*\d+")
        sockets = [socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S)
                   for _ in range(200)]
        _connect(broker, "c").expect_alive()
        equal([s for s in sockets if _is_closed(s)], [])
        assert proc_status(broker.pid, "VmRSS") > 0
