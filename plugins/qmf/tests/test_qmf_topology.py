"""The definitions file of RabbitMQ, under its present and its earlier name."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from vdsm_qmf import topology
from vdsm_qmf.console import Host
from vdsm_qmf.protocol.names import AgentName


def printed(module: str) -> tuple[object, str]:
    """Return what a module prints as a command: a document, and the text on standard error."""
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr


def test_command_prints_the_document() -> None:
    """Without users, and without anything on standard error."""
    assert printed("vdsm_qmf.topology") == (topology.definitions(), "")


def test_earlier_name_works_and_warns() -> None:
    """As a command and as an import, with the present name in the warning."""
    document, warning = printed("vdsm_qmf.definitions")
    assert document == topology.definitions()
    assert "it is called vdsm_qmf.topology" in warning
    with pytest.warns(DeprecationWarning, match="it is called vdsm_qmf.topology"):
        assert importlib.import_module("vdsm_qmf.definitions").definitions is topology.definitions


def test_earlier_name_of_last_seen() -> None:
    """The former name of `last_seen` works, with a warning."""
    agent = AgentName("vdsm", "vdsmd", "h")
    host = Host(id="h", agent=agent, alive=True, last_seen=5.0, epoch=1, interval=10.0, newest_event=0)
    with pytest.warns(DeprecationWarning, match="it is called last_seen"):
        assert host.heard == 5.0
