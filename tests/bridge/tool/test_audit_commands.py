"""`vdsm-tool audit`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.core.audit.records import record
from vdsm_bridge.tool.main import main
from vdsm_core.audit import AuditFiles
from vdsm_core.audit.verify import verify


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An audit log of two calls in the folder of the state of a configuration; no journal of the system."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (tmp_path / "vdsm.toml").write_text(f'[daemon]\nstate_dir = "{tmp_path}/state"\n')
    path = tmp_path / "state" / "audit.log"
    audit = AuditFiles(path, max_bytes=10_000, files=3)
    audit.open()
    audit.write(record(call="a", verb="VM.pause", object="vm-1", outcome="begun", who="ann"))
    audit.write(
        record(call="a", verb="VM.pause", object="vm-1", seconds=0.25, who="ann", address="192.0.2.7")
    )
    audit.write(record(call="b", verb="Host.ping", time="2026-02-01T00:00:00.000Z"))
    audit.close()
    return path


def run(path: Path, *words: str) -> int:
    return main(["audit", *words, "--config", str(path.parent.parent / "vdsm.toml")])


def test_intact(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The log of the configuration is verified, with exit code 0."""
    assert run(path, "verify") == 0
    output = capsys.readouterr().out
    assert f"{path}: 3 records in 1 files; the newest one is 3" in output
    assert "No heads from the log to compare with" in output
    assert output.endswith("The audit log is intact.\n")


def test_not_intact(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed record ends in exit code 3, and is named."""
    path.write_bytes(path.read_bytes().replace(b"ann", b"bob", 1))
    assert run(path, "verify") == 3
    assert f"ERROR: {path}:1: record 1 was changed" in capsys.readouterr().out


def test_heads(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads come from a copy of the log, or from standard input."""
    log = path.with_name("daemon.log")
    log.write_text(f"INFO vdsm.audit {verify(path).head.message()}\n")
    assert run(path, "verify", "--heads", str(log)) == 0
    assert "1 heads from the log match." in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(log.read_text().replace("record 3", "record 2")))
    assert run(path, "verify", "--heads", "-") == 3


def test_heads_of_the_journal(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--heads` the heads are read from the journal of the daemon's unit."""
    tools = path.with_name("tools")
    tools.mkdir()
    journalctl = tools / "journalctl"
    arguments = tools / "asked"
    head = verify(path).head.message()
    journalctl.write_text(f'#!/bin/sh\necho "$@" > {arguments}\necho "{head}"\n')
    journalctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    assert run(path, "verify") == 0
    assert "1 heads from the log match." in capsys.readouterr().out
    assert arguments.read_text().strip().endswith("_SYSTEMD_UNIT=vdsmd.service")


def test_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records are printed one a line, chosen by verb, object, caller, outcome and time."""
    assert run(path, "show", "--verb", "VM.*", "--outcome", "done") == 0
    assert capsys.readouterr().out == (
        "2026-01-31T12:00:00.000Z ann (admin, token) from rest 192.0.2.7: VM.pause vm-1 done in 0.250 s\n"
    )
    assert run(path, "show", "--since", "2026-02-01", "--json") == 0
    assert json.loads(capsys.readouterr().out)["call"] == "b"
    assert run(path, "show", "--object", "vm-1", "--who", "joe") == 0
    assert capsys.readouterr().out == ""


def test_no_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With records in the daemon's log there is no file; the message has the remedy."""
    config = path.parent.parent / "vdsm.toml"
    config.write_text(config.read_text() + '[audit]\nto = "log"\n')
    assert run(path, "verify") == 1
    assert "[audit] to = 'log' there is no file. Use --file." in capsys.readouterr().err
