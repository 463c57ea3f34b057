"""A daemon on the lab's host, and machines on it: what many functional tests begin with."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from tests.functional.daemon import Daemon
from tests.functional.lab import BRIDGE, BootFiles, LabHost
from vdsm_bridge.testing.polling import until

BOOT = 60.0  # seconds that a guest may take under TCG on a busy machine


class Site:
    """A daemon on the lab's host, and machines on it. Names and ids are the test's own."""

    def __init__(self, host: LabHost, boot: BootFiles, daemon: Daemon) -> None:
        self.host = host
        self.daemon = daemon
        self._boot = boot
        self._machines: list[str] = []

    def create(self, name: str, boot: BootFiles | None = None, **extra: Any) -> str:
        """Create a machine over XML-RPC, as an engine does; its id.

        :param boot: what it boots, instead of the site's own
        :param extra: further parameters; None leaves one out
        """
        boot = boot or self._boot
        vm_id = str(uuid.uuid4())
        self._machines.append(vm_id)
        parameters = {
            "vmId": vm_id,
            "vmName": name,
            "memSize": 128,
            "smp": "1",
            "kvmEnable": "false",
            "emulatedMachine": "q35",
            "display": "vnc",
            "kernel": str(boot.kernel),
            "initrd": str(boot.initrd),
            "kernelArgs": boot.cmdline,
            "custom": {"purpose": "lab"},
            "devices": [
                {
                    "type": "disk",
                    "device": "disk",
                    "iface": "virtio",
                    "format": "raw",
                    "path": str(self.host.disk(vm_id)),
                },
                {"type": "interface", "device": "bridge", "network": BRIDGE, "nicModel": "pv"},
            ],
            **extra,
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        created = self.daemon.xmlrpc("create", given)["vmList"]
        assert created["vmId"] == vm_id
        return vm_id

    def boot_with(self, *words: str) -> BootFiles:
        """The site's kernel with further words on its command line."""
        return replace(self._boot, cmdline=" ".join((self._boot.cmdline, *words)))

    def stats(self, vm_id: str) -> dict[str, Any]:
        """A machine's statistics over REST."""
        found: list[dict[str, Any]] = self.daemon.rest("GET", f"/api/vms/{vm_id}/stats")
        (stats,) = found
        return stats

    def status(self, vm_id: str) -> str:
        """A machine's status over REST."""
        return str(self.stats(vm_id)["status"])

    def wait_for(self, vm_id: str, *statuses: str, within: float = 20.0) -> None:
        """Wait until a machine has one of these statuses."""
        until(
            lambda: self.status(vm_id) in statuses,
            within,
            every=0.1,
            what=f"one of {statuses}",
            detail=lambda: self.stats(vm_id),
        )

    def wait_until_booted(self, vm_id: str) -> None:
        """Wait until the guest's own programs write to its disk."""
        self.wait_for(vm_id, "Up", "Powering up", within=BOOT)
        until(
            lambda: self.host.statistics(vm_id).get("block.0.wr.bytes"),
            BOOT,
            every=0.1,
            detail=self.daemon.log,
        )

    def clean(self) -> None:
        """End what a test has left, past the daemon."""
        for vm_id in self._machines:
            if vm_id in self.host.virsh("list", "--uuid"):
                self.host.virsh("destroy", vm_id)
            if vm_id in self.host.virsh("list", "--all", "--uuid"):
                self.host.virsh("undefine", vm_id)
