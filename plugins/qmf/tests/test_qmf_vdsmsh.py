"""vdsmsh over the bus: one host, or all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from vdsm_bridge.transport import CallOptions, Credentials, Unreachable
from vdsm_qmf.testing import PASSWORD, RabbitMQ
from vdsm_qmf.transport import BusTransport

from .conftest import MakeHost

main = pytest.importorskip("vdsmsh.main")
LAMP = "00000000-0000-4000-8000-00000000000b"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(
    broker: RabbitMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run vdsmsh on the bus."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("VDSM_BUS_PASSWORD", PASSWORD)

    def vdsmsh(*words: str) -> Outcome:
        code = main.main(["--bus", broker.url, *words])
        return Outcome(code, *capsys.readouterr())

    return vdsmsh


def test_one_host(on_bus: MakeHost, run: Run) -> None:
    """`--host` means one of several by its id; the commands are the host's own."""
    for name in ("a", "b"):
        on_bus(name)
    done = run("--host", "b", "room", "add", "--left", "2", "-f", "json")
    assert (done.code, json.loads(done.out)) == (0, 3)


def test_all_hosts_as_one_table(on_bus: MakeHost, run: Run) -> None:
    """`--all` calls every host; each row has its host, and progress is separate from the result."""
    for name in ("a", "b", "c"):
        on_bus(name).call("Lamp.create", lamp={"lampID": LAMP, "name": f"lamp of {name}"})
    done = run("--all", "lamp", "list", "-f", "value", "-c", "host", "-c", "name")
    assert done.code == 0
    assert done.out.splitlines() == ["a lamp of a", "b lamp of b", "c lamp of c"]
    assert "100% 3 of 3 hosts" in done.err


def test_partial_failure(on_bus: MakeHost, run: Run) -> None:
    """Each refusal is reported, the other answers are shown, and the exit code is that of the error."""
    on_bus("a").call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    on_bus("b")
    done = run("--all", "-q", "lamp", "switch", "hall", "--lit", "-f", "json")
    assert done.code == 5
    assert [(row["host"], row["lit"]) for row in json.loads(done.out)] == [("a", True)]
    assert done.err.splitlines() == [
        f"vdsmsh: b: There is no lamp '{LAMP}'",
        "vdsmsh: Lamp.switch failed on 1 of 2 hosts",
    ]


def test_events_of_one_host(on_bus: MakeHost, run: Run) -> None:
    """They arrive over the bus, resume by number, and include gaps; with `--all` there are none."""
    for name in ("a", "b"):
        on_bus(name).call("Lamp.create", lamp={"lampID": LAMP, "name": f"lamp of {name}"})
    for lit in ("--lit", "--no-lit"):
        assert run("--host", "b", "lamp", "switch", LAMP, lit).code == 0
    words = ("--host", "b", "events", "sample", "--count", "1", "--timeout", "20", "-f", "json", "--after")
    first = json.loads(run(*words, "0").out)
    assert (first["id"], first["params"]) == (f"|sample|switched|{LAMP}", {"lit": True})
    second = json.loads(run(*words, str(first["seq"])).out)
    assert (second["params"], second["seq"]) == ({"lit": False}, first["seq"] + 1)
    gap = json.loads(run(*words, "100000").out)
    assert (gap["id"], gap["params"]["to"]) == ("|events|gap|no_id", 100_000)
    assert run("--all", "events") == (
        2,
        "",
        "vdsmsh: events are read from one host; name it with --host instead of --all\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["room", "add"], "--bus needs either --host NAME or --all"),
        (["--host", "a", "--all", "room", "add"], "--bus needs either --host NAME or --all"),
    ],
)
def test_the_host_must_be_named(run: Run, words: list[str], message: str) -> None:
    """One host, or all: not both, and not neither."""
    assert run(*words) == (2, "", f"vdsmsh: {message}\n")


def test_unknown_host(on_bus: MakeHost, run: Run) -> None:
    """An unknown host is reported as such."""
    on_bus("a")
    done = run("--host", "z", "host", "ping")
    assert (done.code, done.err) == (3, "vdsmsh: no host 'z' is on the bus; hosts on the bus: 1\n")


def test_dry_run_sends_nothing_and_tells_no_secret(on_bus: MakeHost, run: Run) -> None:
    """The line of `--dry-run` sends the same call; the password is not in it."""
    on_bus("a")
    done = run("--host", "a", "room", "add", "--left", "2", "--dry-run")
    assert done.out.startswith("python3 -m vdsm_qmf amqp://guest@127.0.0.1:")
    assert done.out.endswith("""/a Room.add '{"left": 2}'\n""")
    assert f":{PASSWORD}@" not in done.out


def test_transport_without_a_broker() -> None:
    """An unreachable bus is reported soon, with the reason."""
    transport = BusTransport("amqp://guest@127.0.0.1:1/host", Credentials(), {})
    with pytest.raises(Unreachable, match=r"cannot reach the message bus: .*Connection refused"):
        transport.call("Host.ping", {}, CallOptions(timeout=0.5))
    transport.close()
