"""Exit codes, and one line on standard error."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stevedore.exception import NoMatches

from vdsm_bridge.testing import TestHost

from .conftest import HALL, Run

ABSENT = "99999999-9999-9999-9999-999999999999"


#: A command line, its exit code, and what its line on standard error says.
REFUSALS = [
    (("lamp", "info", ABSENT), 1, f"There is no lamp '{ABSENT}' (no-such-lamp, 100)"),
    (("room", "break-down"), 1, "(unexpected-error, 16)"),
    (("room", "add"), 2, "--left is required"),
    (("room", "add", "--left", "x"), 2, "--left: 'x' is not a whole number"),
    (("room", "add", "--left", "1", "--up"), 2, "unrecognized arguments: --up; see `vdsmsh room add --help`"),
    (("room", "add", "--lef", "1"), 2, "unrecognized arguments: --lef 1"),
    (("lamp", "info"), 2, "the following arguments are required: LAMP"),
    (
        ("lamp", "create", "--colour", "pink", "--name", "x"),
        2,
        "--colour: 'pink' is not one of blue, green, red",
    ),
    (("lamp", "create", "--name", "x", "--watts", "-1"), 1, "; the option is --watts (invalid-argument, 91)"),
    (("lamp", "create", "--file", "/nowhere"), 2, "--file: cannot read /nowhere: No such file or directory"),
    (("lamp", "create", "--file", __file__), 2, "test_errors.py is not JSON: "),
    (("lamp",), 2, "'lamp' needs one of its commands: burn, create"),
    (("lamp", "lst"), 2, "did you mean 'lamp list'?"),
    (("lmap", "list"), 2, "did you mean 'lamp'?"),
    (("xyzzy", "list"), 2, "there is no command 'xyzzy'; there are drawer, events, host, lamp"),
    (("events", "--after", "last"), 2, "'last' is not a number of an event"),
    (("events", "--count", "0"), 2, "'0' is not a number of events"),
    (("events", "--count", "2", "--timeout", "0.2"), 3, "0 of 2 events arrived within 0.2 s"),
    (("events", "-f", "yaml"), 2, "invalid choice: 'yaml'"),
    (("--url", "unix:///nowhere/api.sock", "events"), 3, "No such file or directory; check that vdsmd runs"),
    (("room", "add", "--left", "1", "--watch"), 2, "unrecognized arguments: --watch"),
    (("lamp", "list", "-f", "xml"), 2, "invalid choice: 'xml'"),
    (("lamp", "list", "--timeout", "soon"), 2, "'soon' is not a number of seconds"),
    (("--url",), 2, "--url needs a value"),
    (
        ("--url", "gopher://x", "lamp", "list"),
        2,
        "serves gopher:// URLs; install a package",
    ),
    (("--url", "somewhere", "lamp", "list"), 2, "'somewhere' is not a URL"),
    (
        ("--token-file", "/nowhere", "lamp", "list"),
        2,
        "cannot read the token file /nowhere: No such",
    ),
    (("--url", "unix:///nowhere/api.sock", "host", "ping"), 3, "No such file or directory"),
    (("--url", "http://127.0.0.1:x", "host", "ping"), 3, "cannot use the URL"),
    (("complete", "--shell", "tcsh"), 2, "invalid choice: 'tcsh'"),
]


def test_refusals(host: TestHost, run: Run) -> None:
    """Each kind of failure has its exit code and says in one line what is wrong."""
    wrong = []
    for words, code, message in REFUSALS:
        outcome = run(*words)
        one_line = outcome.err.startswith("vdsmsh: ") and outcome.err.count("\n") == 1
        if outcome.code != code or outcome.out or not one_line or message not in outcome.err:
            wrong.append((words, outcome))
    assert wrong == []


def test_wrong_token(host: TestHost, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong credentials are the host's refusal."""
    monkeypatch.setenv("VDSM_TOKEN", "wrong")
    outcome = run("host", "ping")
    assert outcome.code == 1
    assert "(unauthenticated," in outcome.err


@pytest.fixture
def other_server() -> Iterator[socket.socket]:
    """A socket that listens and says nothing unless the test does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_nobody_answers(home: Path, run: Run, other_server: socket.socket) -> None:
    """A host that is silent for longer than the timeout cannot be reached."""
    url = f"http://127.0.0.1:{other_server.getsockname()[1]}"
    outcome = run("--url", url, "--timeout", "0.1", "host", "ping")
    assert outcome.code == 3
    assert "did not answer within 0.1 s" in outcome.err


def test_nothing_listens(home: Path, run: Run, other_server: socket.socket) -> None:
    """A closed port cannot be reached."""
    port = other_server.getsockname()[1]
    other_server.close()
    outcome = run("--url", f"http://127.0.0.1:{port}", "host", "ping")
    url = f"http://127.0.0.1:{port}"
    reason = "Connection refused; check that vdsmd runs there with the plugin rest, or give another --url"
    assert (outcome.code, outcome.err) == (3, f"vdsmsh: cannot reach the host at {url}: {reason}\n")


def test_broken_pipe(host: TestHost, vdsmsh: str) -> None:
    """A reader that goes away is no error to talk about."""
    script = f"({vdsmsh} lamp list -f json; echo $? >&2) | true"
    reader = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert reader.stderr.strip() in {"141", "0"}


def test_closed_output(host: TestHost, vdsmsh: str) -> None:
    """The exit code reports that the result was not read."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [vdsmsh, "verb", "list", "-f", "json"],
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_quiet_and_verbose(host: TestHost, run: Run) -> None:
    """`-v` prints the calls and their duration; by default and with `-q` nothing but the result."""
    assert f"Lamp.getInfo {{'lampID': '{HALL}'}}: " in run("-v", "lamp", "info", HALL).err
    assert run("lamp", "info", HALL).err == run("-q", "lamp", "info", HALL).err == ""


def test_transport_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, home: Path, run: Run) -> None:
    """Without the package of the bus, vdsmsh says which one to install."""

    def none_found(*_: object, **__: object) -> None:
        raise NoMatches

    monkeypatch.setattr("vdsm_bridge.client.opening.DriverManager", none_found)
    outcome = run("--url", "amqp://x", "lamp", "list")
    assert outcome.code == 2
    assert "no installed package serves amqp:// URLs; install vdsm-qmf" in outcome.err


def test_version(home: Path, run: Run) -> None:
    """The version needs no host."""
    outcome = run("--version")
    assert outcome.code == 0
    assert outcome.out.startswith("vdsmsh 0.")


def test_help_without_a_host(home: Path, run: Run) -> None:
    """Help is given without a host, and says that its commands are not known."""
    outcome = run("--url", "unix:///nowhere/api.sock", "--help")
    assert outcome.code == 0
    assert "cannot list the commands of the host" in outcome.out


def test_tls_to_a_plain_port(host: TestHost, run: Run) -> None:
    """A URL with the wrong scheme is an error that names the other one."""
    (plugin,) = [plugin for plugin in host.host.plugins() if plugin.name == "rest"]
    address = next(address for address in plugin.address if address.startswith("http://"))
    outcome = run("--url", address.replace("http://", "https://"), "host", "ping")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.endswith("; a port without TLS needs http://\n")


@pytest.mark.parametrize("line", [("help", "complete"), ("complete", "--help")])
def test_help_of_complete(host: TestHost, run: Run, line: tuple[str, ...]) -> None:
    """The help of `complete` is that of its options, with `help` before it, too."""
    outcome = run(*line)
    assert (outcome.code, outcome.err) == (0, "")
    assert "--shell {bash,zsh}" in outcome.out
