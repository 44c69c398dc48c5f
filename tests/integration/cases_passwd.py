# SPDX-License-Identifier: Apache-2.0
"""nightjar-passwd as people and scripts use it: terminal, pipe, command line, and what it leaves of
the file."""
import os
import pathlib
import pty
import re
import select
import subprocess
import tempfile
import time

from harness.runner import Skip, case
from cases_users import _passwd_program
from support import DEADLINE_S, equal, nightjar_only


class Terminal:
    """The program on a terminal of its own; what it shows, echo included, is kept."""

    def __init__(self, *args):
        self.shown = ""
        try:
            self.child, self.descriptor = pty.fork()
        except OSError as err:
            raise Skip(f"no terminal can be made here: {err}") from None
        if self.child == 0:
            os.execv(args[0], args)

    def wait_for(self, text):
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self.shown!r}"
            assert select.select([self.descriptor], [], [], left)[0], self.shown
            self.shown += os.read(self.descriptor, 1000).decode()

    def send(self, text):
        os.write(self.descriptor, text.encode())

    def end(self):
        """The exit code, when the terminal has nothing more to show."""
        try:
            while chunk := os.read(self.descriptor, 1000):
                self.shown += chunk.decode()
        except OSError:     # so a terminal says that its last program has ended
            pass
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def _start(*args, **more):
    return subprocess.run([_passwd_program(), *args], capture_output=True, text=True, check=False,
                          timeout=DEADLINE_S, **more)


def _ok(*args, **more):
    done = _start(*args, **more)
    equal((done.returncode, done.stderr), (0, ""))
    return done.stdout


def _fails(code, *args, **more):
    done = _start(*args, **more)
    equal((done.returncode, done.stdout), (code, ""))
    assert done.stderr.startswith("nightjar-passwd: "), done.stderr
    return done.stderr


def _users(path):
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    return [line.split(":")[0] for line in lines if line and not line.startswith("#")]


def _folder():
    nightjar_only()
    return tempfile.TemporaryDirectory()


@case("nightjar-passwd asks twice on a terminal and shows nothing of the password")
def terminal(_t):
    with _folder() as folder:
        path = os.path.join(folder, "p")
        on = Terminal(_passwd_program(), "-c", path, "ann")
        on.wait_for("Password: ")
        on.send("opensesame\n")
        on.wait_for("Reenter password: ")
        on.send("opensesame\n")
        equal(on.end(), 0)
        assert "opensesame" not in on.shown, on.shown
        equal(_users(path), ["ann"])
        on = Terminal(_passwd_program(), path, "bob")
        on.wait_for("Password: ")
        on.send("one\n")
        on.wait_for("Reenter password: ")
        on.send("other\n")
        equal(on.end(), 1)
        assert "not the same" in on.shown, on.shown
        equal(_users(path), ["ann"])


@case("nightjar-passwd reads the password from a pipe, and refuses an empty one")
def pipe(_t):
    with _folder() as folder:
        path = os.path.join(folder, "p")
        _ok("-c", path, "ann", input="one\n")
        _ok(path, "bob", input="two words")
        assert "empty" in _fails(1, path, "cid", input="")
        assert "longer than" in _fails(1, path, "cid", input="x" * 65536)
        equal(_users(path), ["ann", "bob"])


@case("nightjar-passwd writes the hash that it is asked for")
def hashes(_t):
    with _folder() as folder:
        path = os.path.join(folder, "p")
        for args, start in (([], r"\$7\$10000\$"), (["-I", "77"], r"\$7\$77\$"),
                            (["-H", "sha512"], r"\$6\$"),
                            (["-H", "argon2id", "-I", "1"], r"\$argon2id\$v=19\$m=\d+,t=1,p=1\$")):
            _ok("-b", "-c", *args, path, "ann", "one")
            text = pathlib.Path(path).read_text(encoding="ascii")
            assert re.fullmatch(f"ann:{start}.*\n", text), text
        assert "-H takes" in _fails(2, "-H", "md5", path, "ann")
        assert "no meaning" in _fails(2, "-H", "sha512", "-I", "9", path, "ann")
        assert "at most 100" in _fails(1, "-H", "argon2id", "-I", "101", "-b", path, "ann", "x")
        for bad in ("0", "-1", "10000001", "ten"):
            assert "-I takes" in _fails(2, "-I", bad, path, "ann")


@case("nightjar-passwd -U hashes what is in plain text and leaves the rest as it is")
def upgrade(_t):
    with _folder() as folder:
        path = os.path.join(folder, "p")
        _ok("-b", "-c", path, "ann", "one")
        old = pathlib.Path(path).read_text(encoding="ascii")
        pathlib.Path(path).write_text(f"# users\n\n{old}bob:two:words \r\ncid:$money$\n",
                                      encoding="ascii")
        assert "2 passwords hashed" in _ok("-U", path)
        lines = pathlib.Path(path).read_text(encoding="ascii").splitlines(keepends=True)
        equal(lines[:3], ["# users\n", "\n", old])
        equal([line.split("$")[0] for line in lines[3:]], ["bob:", "cid:"])
        assert "0 passwords hashed" in _ok("-U", path)
        pathlib.Path(path).write_text("ann:$6$damaged\n", encoding="ascii")
        assert f"{path}:1: user 'ann'" in _fails(1, "-U", path)
        pathlib.Path(path).write_text("# x\nnonsense\n", encoding="ascii")
        assert f"{path}:2: " in _fails(1, "-U", path)
        equal(pathlib.Path(path).read_text(encoding="ascii"), "# x\nnonsense\n")


@case("nightjar-passwd replaces the file whole: mode, owner and links stay, nothing lies about")
def replacing(_t):
    with _folder() as folder:
        path, link = (os.path.join(folder, name) for name in ("p", "link"))
        _ok("-b", "-c", path, "ann", "one")
        equal(os.stat(path).st_mode & 0o7777, 0o600)
        os.chmod(path, 0o640)
        if os.geteuid() == 0:
            os.chown(path, 12345, 23456)
        before = os.stat(path)
        os.symlink("p", link)
        _ok("-b", link, "bob", "two")
        after = os.stat(path)
        assert os.path.islink(link) and after.st_ino != before.st_ino
        equal((after.st_mode, after.st_uid, after.st_gid),
              (before.st_mode, before.st_uid, before.st_gid))
        equal(_users(path), ["ann", "bob"])
        assert "no user 'eve'" in _fails(1, "-D", path, "eve")
        equal(os.stat(path).st_ino, after.st_ino)
        equal(sorted(os.listdir(folder)), ["link", "p"])


@case("nightjar-passwd keeps comments and order, and mends a user who stands there twice")
def editing(_t):
    with _folder() as folder:
        path = os.path.join(folder, "p")
        pathlib.Path(path).write_text("# first\nann:x\n\nbob:y\nann:z\n# last", encoding="ascii")
        _ok("-b", path, "ann", "one")
        lines = pathlib.Path(path).read_text(encoding="ascii").splitlines()
        assert lines[1].startswith("ann:$7$"), lines
        equal(lines[:1] + lines[2:], ["# first", "", "bob:y", "# last"])
        _ok("-D", path, "bob")
        equal(_users(path), ["ann"])


@case("Ten runs of nightjar-passwd at once lose no user")
def at_once(_t):
    with _folder() as folder:
        path = os.path.join(folder, "p")
        _ok("-b", "-c", path, "first", "x")
        runs = [subprocess.Popen([_passwd_program(), "-b", path, f"user{number}", "x"])
                for number in range(10)]
        equal([run.wait(DEADLINE_S) for run in runs], [0] * 10)
        equal(sorted(_users(path)), sorted(["first"] + [f"user{n}" for n in range(10)]))


@case("nightjar-passwd refuses names that a password file or CONNECT cannot hold")
def names(_t):
    with _folder() as folder:
        path = os.path.join(folder, "p")
        for name in ("a:b", "a\tb", "a\x7f", "", "#a", " a", "a ", b"\xff\xfe", "x" * 65536):
            _fails(1, "-b", "-c", path, name, "x")
        assert not os.path.exists(path)
        _ok("-b", "-c", path, "Zoë Ångström", "x")
        equal(_users(path), ["Zoë Ångström"])


@case("nightjar-passwd says what is wrong with its command line, and explains itself")
def command_line(_t):
    nightjar_only()
    for args in ([], ["p"], ["-c", "-D", "p", "ann"], ["-b", "p", "ann"], ["p", "ann", "x"],
                 ["-b", "-D", "p", "ann", "x"], ["-U", "p", "ann"]):
        assert "usage: " in _fails(2, *args), args
    done = _start("--nonsense")
    equal(done.returncode, 2)
    assert "--nonsense" in done.stderr and "usage: " in done.stderr
    assert re.fullmatch(r"nightjar-passwd version \d+\.\d+\.\d+\n", _ok("--version"))
    for word in ("--upgrade", "argon2id", "SIGHUP"):
        assert word in _ok("--help")
    assert "-c makes it" in _fails(1, "-b", "/nonexistent/p", "ann", "x")
