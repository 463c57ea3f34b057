"""What a client written for VDSM does, on the machines of the feature `virt` where it is installed."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from vdsm_bridge.testing.polling import until

from .conftest import Serve


def test_life_of_a_machine(serve: Serve) -> None:
    """create, list, getVmStats, pause, cont, destroy: old names, old keys, numbers as text."""
    served = serve(installed=True)
    if "VM.create" not in served.host.bridge.verbs:
        pytest.skip("no installed feature has machines")
    vm_id = str(uuid.uuid4())
    with served.proxy() as typed:
        host: Any = typed
        params = {
            "vmId": vm_id,
            "vmName": "old-client",
            "memSize": "64",
            "smp": "1",
            "display": "vnc",
            "vmType": "kvm",
        }
        created = host.create(params)
        assert created["status"]["code"] == 0, created
        assert created["vmList"]["vmId"] == vm_id

        def status() -> str:
            return {machine["vmId"]: machine["status"] for machine in host.list()["vmList"]}[vm_id]

        until(lambda: status() in ("Up", "Powering up"))
        assert {"vmId", "status"} <= set(host.list(False, [vm_id])["vmList"][0])
        (full,) = host.list("true", [vm_id])["vmList"]
        assert full["vmName"] == "old-client"
        (stats,) = host.getVmStats(vm_id)["statsList"]
        assert stats["vmId"] == vm_id
        assert vm_id in {machine["vmId"] for machine in host.getAllVmStats()["statsList"]}
        assert host.pause(vm_id)["output"] == [""]
        until(lambda: status() == "Paused")
        assert host.cont(vm_id)["status"]["code"] == 0
        until(lambda: status() in ("Up", "Powering up"))
        assert host.create(params)["status"]["code"] == 4
        assert host.destroy(vm_id)["status"] == {"code": 0, "message": "Machine destroyed"}
        assert host.destroy(vm_id)["status"]["code"] == 1
        capabilities = host.getVdsCapabilities()["info"]
        assert isinstance(capabilities["memSize"], str)
        assert isinstance(host.getVdsStats()["info"]["memAvailable"], int)
