"""A libvirtd that has not examined its emulators yet, as after its installation or an upgrade of QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.conftest import absent
from tests.functional.daemon import Daemon, Refused
from tests.functional.lab import LabHost, Unusable
from vdsm_bridge.testing.polling import until


def _listed(daemon: Daemon) -> object:
    try:
        return daemon.rest("GET", "/api/host/vm-list") == []
    except Refused as refused:
        if refused.args[1]["slug"] != "recovering":
            raise
        return False


@pytest.mark.usefixtures("lab")
def test_machines_are_listed_before_the_emulators_are_known(tmp_path: Path) -> None:
    """No QEMU has answered libvirt when the machines are listed; the capabilities follow when it does."""
    try:
        host = LabHost.prepare()
    except Unusable as unusable:
        absent(str(unusable))
    with host:
        examined = host.hold_emulators()
        host.start(question="list")
        assert not examined()
        with Daemon(tmp_path, host.uri) as daemon:
            until(lambda: _listed(daemon), 60.0, every=0.1)
            # The daemon asks for the capabilities in the background, so that the first caller need not wait.
            until(examined, 60.0, every=0.1)
            assert _listed(daemon)
            (host.root / "go").touch()
            assert daemon.rest("GET", "/api/host/capabilities")["emulatedMachines"]
