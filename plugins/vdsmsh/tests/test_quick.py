"""The commands on machines: several at once, filters, waiting, editing; on the quick way and the long one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsmsh.quick import machines as rows
from vdsmsh.quick import place, wire
from vdsmsh.quick.errors import Failed, NotQuick, Usage

from .conftest import Outcome, Run

#: The machine that libvirt's test driver is born with.
BORN_WITH = "test"


@pytest.fixture(params=["quick", "long"])
def vm(request: pytest.FixtureRequest, machines: TestHost, run: Run) -> Callable[..., Outcome]:
    """Run a command on machines; `-v` is an option that only the program as a whole has."""
    front = ["-v"] if request.param == "long" else []
    for name in ("a", "b"):
        machines.call("VM.create", vmParams={"vmName": name, "memSize": 64})
    for name in ("a", "b"):
        until(lambda name=name: status(machines, name) == "Up", 10.0)

    def command(*words: str) -> Outcome:
        outcome = run(*front, "vm", *words)
        # The lines of `-v`.
        outcome.err = "".join(re.findall(r"vdsmsh: .*\n", outcome.err))
        return outcome

    return command


def status(host: TestHost, name: str) -> str:
    """The status of a machine; empty if it is not there."""
    return next((each.status for each in host.call("Host.getAllVmStats") if each.vm_name == name), "")


def test_several_machines_at_once(machines: TestHost, vm: Callable[..., Outcome]) -> None:
    """Names, all, or those that a filter selects; a line for each."""
    assert vm("pause", "a", "b").out == "a is paused\nb is paused\n"
    assert (status(machines, "a"), status(machines, BORN_WITH)) == ("Paused", "Up")
    assert vm("cont", "--filter", "status=Paused").out == "a runs\nb runs\n"
    assert vm("pause", "--all").out == f"a is paused\nb is paused\n{BORN_WITH} is paused\n"
    assert vm("cont", "--all", "--quiet").out == ""
    assert vm("pause", "--filter", "status!=Up").out == ""
    missing = vm("pause", "a", "nope")
    assert (missing.code, status(machines, "a")) == (1, "Up")
    assert missing.err == "vdsmsh: there is no VM 'nope' (no-such-vm); `vdsmsh vm list` lists them\n"


def test_the_end_of_an_action_is_waited_for(machines: TestHost, vm: Callable[..., Outcome]) -> None:
    """The exit code is that of what became of the machine."""
    assert vm("shutdown", "a", "--wait").out == "a is in status Down: Shut down on request\n"
    assert vm("start", "a", "--wait").out == "a is in status Up\n"
    refused = vm("start", "a", "b")
    assert refused.code == 1
    assert [line.split(":")[1].strip() for line in refused.err.splitlines()] == ["a", "b"]
    assert "(vm-not-down, 100)" in refused.err


def test_a_list_is_a_table(machines: TestHost, vm: Callable[..., Outcome]) -> None:
    """With the reason of a status; wide with ids; sorted and filtered."""
    vm("shutdown", "a", "--wait")
    head, first, *_ = vm("list").out.splitlines()
    assert head.split() == ["NAME", "STATUS", "CPU", "%", "MEMORY", "ADDRESS", "UPTIME", "REASON"]
    assert first.split()[:2] == ["a", "Down"]
    assert first.endswith("Shut down on request")
    assert "0.0" in vm("list", "--filter", "name=b", "--no-header").out
    assert vm("list", "-o", "wide").out.split()[0] == "ID"
    names = [line.split()[0] for line in vm("list", "--sort", "status", "--no-header").out.splitlines()]
    assert names[0] == "a"
    assert vm("list", "-f", "value", "-c", "vmName").out.split() == [BORN_WITH, "a", "b"]
    top = vm("top", "--count", "1", "--sort", "name").out
    assert [line.split()[0] for line in top.splitlines() if line] == ["NAME", "a", "b", BORN_WITH]


def test_a_definition_is_edited(
    machines: TestHost, vm: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor gets the document; what needs a restart is named, a refused text is kept."""
    assert vm("xml", "a").out.startswith("<domain")
    monkeypatch.setenv("EDITOR", "sed -i s/65536/131072/")
    assert "currentMemory, memory; it takes effect when" in vm("edit", "a").out
    assert ">131072<" in vm("xml", "a").out
    assert ">65536<" in vm("xml", "a", "--running").out
    monkeypatch.setenv("EDITOR", "true")
    assert vm("edit", "a").out == "a is not changed\n"
    monkeypatch.setenv("EDITOR", "sed -i s/<devices>/<devise>/")
    refused = vm("edit", "a")
    assert refused.code == 1
    kept = Path(refused.err.rpartition("your text is in ")[2].strip())
    assert "<devise>" in kept.read_text()
    kept.unlink()
    monkeypatch.setenv("EDITOR", "/nonexistent/editor")
    assert "set VISUAL or EDITOR" in vm("edit", "a").err


def test_a_machine_is_renamed_started_with_the_host_and_forgotten(
    machines: TestHost, vm: Callable[..., Outcome]
) -> None:
    """Each is one command with the name of the machine first."""
    assert vm("autostart", "a", "on").out == "a is started with the host\n"
    assert vm("autostart", "a").out == "on\n"
    assert vm("autostart", "a", "no").code == 0
    assert vm("autostart", "a").out == "off\n"
    vm("shutdown", "a", "--wait")
    assert vm("rename", "a", "c").out == "a is c now\n"
    until(lambda: status(machines, "c") == "Down", 5.0)
    assert vm("forget", "c").out == "c is forgotten\n"
    assert status(machines, "c") == ""


_WRONG = [
    ["pause"],
    ["pause", "a", "--all"],
    ["pause", "a", "--nonsense"],
    ["pause", "a", "--filter", "size=1"],
    ["list", "a"],
    ["list", "--sort", "size"],
    ["list", "-o", "narrow"],
    ["list", "--filter"],
    ["top", "--count", "x"],
    ["shutdown", "a", "--delay", "soon"],
    ["rename", "a"],
    ["autostart", "a", "perhaps"],
    ["start", "a", "--wait-timeout", "-1"],
]


def test_wrong_usage_is_exit_code_2(vm: Callable[..., Outcome]) -> None:
    """One line says what is wrong; nothing is done."""
    for words in _WRONG:
        outcome = vm(*words)
        assert (outcome.code, outcome.out) == (2, ""), words
        assert outcome.err.startswith("vdsmsh: ")
        assert outcome.err.count("\n") == 1


def test_options_of_verbs_stay(machines: TestHost, vm: Callable[..., Outcome]) -> None:
    """After the command, `--timeout` of a shutdown is the guest's; negations are understood."""
    assert vm("shutdown", "a", "--timeout", "60", "--no-force", "--delay", "3000").code == 0
    assert status(machines, "a") == "Up"


def test_every_command_has_its_help(vm: Callable[..., Outcome]) -> None:
    """Short, with its options."""
    assert "--wait-timeout SECONDS" in vm("start", "--help").out
    assert "-o wide" in vm("list", "-h").out
    group = vm("--help").out
    assert "  top " in group
    assert "set-xml" not in group
    assert "set-xml" in vm("--help", "--all-verbs").out


def test_the_url_of_this_machine_is_kept(
    machines: TestHost, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found once by the configuration, then without it, until that changes."""
    config = home / "xdg_config_home" / "vdsm"
    config.mkdir(parents=True)
    # The files of an ordinary user.
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    (config / "vdsm.toml").write_text(f'[plugin.rest]\nsocket = "{home / "api.sock"}"\n')
    monkeypatch.delenv("VDSM_URL")
    with pytest.raises(NotQuick):
        place.choose_url("")
    assert run("vm", "list").code == 0
    assert place.choose_url("") == f"unix://{home / 'api.sock'}"
    (config / "vdsm.toml").write_text('[plugin.rest]\nsocket = "/nonexistent/other.sock"\n')
    with pytest.raises(NotQuick):
        place.choose_url("")


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n\r\nnonsense"],
)
def test_what_is_no_answer_of_a_host_is_said(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """Exit code 3, as for a host that does not answer."""
    monkeypatch.setattr(wire.Wire, "_exchange", lambda *_: answer)
    with pytest.raises(Failed) as error:
        wire.Wire("unix:///nowhere").call("Host.ping", {})
    assert error.value.code == 3


def test_answers_in_chunks_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may not know the length of an answer."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n4;x=y\r\n,23]\r\n0\r\n\r\n"
    monkeypatch.setattr(wire.Wire, "_exchange", lambda *_: answer)
    assert wire.Wire("http://127.0.0.1:1").call("Host.ping", {}) == [1, 23]


@pytest.mark.parametrize(
    "url", ["https://a:1", "amqp://b", "a:1", "http://a", "unix:///a%20b", "http://u@a:1"]
)
def test_other_urls_are_for_the_program(url: str) -> None:
    """TLS, the bus, and whatever has to be decoded."""
    with pytest.raises(NotQuick):
        wire.Wire(url)


def test_cells_are_short_and_harmless() -> None:
    """Sizes, durations, control characters in names, and tables that fit."""
    assert [rows.size(value) for value in (None, 0, 1536, 2**31, 5 * 2**40)] == [
        "",
        "0B",
        "1.5K",
        "2.0G",
        "5.0T",
    ]
    assert [rows.duration(value) for value in (None, 5, 3700, 90061)] == ["", "5s", "1h 1m", "1d 1h"]
    row = rows.row_of({"vmId": "i", "vmName": "a\x1b[31m", "status": "Down", "exitMessage": "x" * 200})
    lines = rows.table([row], rows.COLUMNS, 60)
    assert all(len(line) <= 60 and line.isprintable() for line in lines)
    assert lines[1].endswith("…")
    with pytest.raises(Usage):
        rows.matches(row, ["nonsense"])
