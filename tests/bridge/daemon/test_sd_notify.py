"""Notifications to systemd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from vdsm_bridge.daemon.sd_notify import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_the_state_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    """One datagram, to a path or to a name in the abstract namespace."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nowhere/notify"])
def test_without_a_listener(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """The daemon goes on."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
