"""Two hosts of a lab with a daemon each, which call each other's API over TLS."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.functional.daemon import Daemon, Refused
from tests.functional.lab import ADDRESSES, BootFiles, LabHost, LabPair
from vdsm_bridge.testing.polling import until

BOOT = 60.0  # seconds that a guest may take under TCG on a busy machine
MOVE = 60.0  # seconds that the end of a migration may take there
#: MiB/s: less than a guest with `lab.dirty` writes. Its migration does not end by itself.
SLOW = 1
#: MiB/s: far more than it writes.
FAST = 1000
#: Addresses of the destination beside its own, by what answers there.
XMLRPC, OLDER, ABSENT = "192.0.2.12", "192.0.2.22", "192.0.2.32"
#: The address of the source at which its XML-RPC answers.
XMLRPC_HERE = "192.0.2.11"
CONFIG = """\
[daemon]
state_dir = "{folder}/state"
run_dir = "{folder}"
user = "root"
required = ["virt", "rest", "xmlrpc"]
[hypervisor]
uri = "{uri}"
sample_interval = 0.5
[tls]
ca = "PKI/certs/cacert.pem"
certificate = "PKI/certs/vdsmcert.pem"
key = "PKI/keys/vdsmkey.pem"
[access]
loopback = "admin"
[access.certificates]
"IP:OTHER" = {{ role = "ROLE", verbs = ["Host.ping", "VM.migrationCreate", "VM.destroy"], own = ["VM"] }}
[plugin.rest]
address = "OWN"
port = 8088
tls = "required"
socket = "{folder}/api.sock"
[plugin.xmlrpc]
address = "XMLRPC"
port = 54321
tls = "required"
[plugin.virt]
migration_uri = "qemu+tls://{{host}}/system"
shared_folders = ["DISKS"]
image_folders = ["DISKS"]
peer_timeout = 6
[plugin.virt.peers]
"192.0.2.12" = "xmlrpcs://{{host}}:54321"
"192.0.2.11" = "xmlrpcs://{{host}}:54321"
"192.0.2.*" = "https://{{host}}:8088"
"""
#: A daemon that has no verbs of machines.
WITHOUT_VIRT = """\
[daemon]
state_dir = "{folder}/state"
run_dir = "{folder}"
user = "root"
[hypervisor]
uri = "{uri}"
[tls]
ca = "PKI/certs/cacert.pem"
certificate = "PKI/certs/vdsmcert.pem"
key = "PKI/keys/vdsmkey.pem"
[access.certificates]
"IP:OTHER" = "admin"
[plugin.virt]
enabled = false
[plugin.xmlrpc]
address = "OWN"
port = 54321
tls = "required"
[plugin.rest]
address = "OWN"
port = 8088
tls = "required"
socket = "{folder}/api.sock"
"""


def daemon_in(host: LabHost, folder: Path, config: str, uri: str = "", **words: str) -> Daemon:
    """Return a daemon in the network of a host; it has not been started.

    :param words: what stands for the words in capitals of the configuration
    """
    folder.mkdir()
    for word, text in {"PKI": str(host.root / "pki" / "vdsm"), **words}.items():
        config = config.replace(word, text)
    daemon = Daemon(folder, uri or host.uri, config)
    daemon.command = ["nsenter", f"--net=/proc/{host.namespaces}/ns/net", *daemon.command]
    return daemon


class Peer:
    """A host and its daemon, called by an administrator over its unix socket."""

    def __init__(self, host: LabHost, address: str, daemon: Daemon) -> None:
        self.host = host
        self.address = address
        self.daemon = daemon

    def call(self, verb: str, vm_id: str, **arguments: Any) -> Any:
        """Call an action of a machine."""
        return self.daemon.rest("POST", f"/api/vms/{vm_id}/{verb}", arguments)

    def status(self, vm_id: str) -> str:
        """Return the machine's status by the API; empty if it is not there."""
        machines = {vm["vmId"]: vm["status"] for vm in self.daemon.rest("GET", "/api/vms")}
        return str(machines.get(vm_id, ""))

    def destroy(self, vm_id: str) -> None:
        """Destroy a machine, or give up a place."""
        self.daemon.rest("DELETE", f"/api/vms/{vm_id}")

    def stats(self, vm_id: str) -> dict[str, Any]:
        """Return the machine's statistics."""
        found: list[dict[str, Any]] = self.daemon.rest("GET", f"/api/vms/{vm_id}/stats")
        return found[0]

    def wait_for(self, vm_id: str, *statuses: str, within: float = MOVE) -> None:
        """Wait until the API reports one of these statuses."""
        until(
            lambda: self.status(vm_id) in statuses,
            within,
            every=0.1,
            what=f"one of {statuses}",
            detail=lambda: (self.status(vm_id), self.daemon.log()),
        )

    def state(self, vm_id: str) -> str:
        """Return libvirt's own state of the domain; empty if it has none."""
        try:
            return self.host.virsh("domstate", vm_id).strip()
        except subprocess.CalledProcessError:
            return ""

    def progress(self, vm_id: str) -> dict[str, Any] | None:
        """Return what the API reports of the migration; None after one that failed."""
        try:
            found: dict[str, Any] = self.daemon.rest("GET", f"/api/vms/{vm_id}/migration-status")
        except Refused:
            return None
        return found

    def refusal(self, verb: str, vm_id: str, **arguments: Any) -> dict[str, Any]:
        """Call an action that is refused; return the error."""
        try:
            self.call(verb, vm_id, **arguments)
        except Refused as refused:
            found: dict[str, Any] = refused.args[1]
            return found
        raise AssertionError(f"{verb} was not refused")

    def audit(self, verb: str) -> list[dict[str, Any]]:
        """Return the lines of the audit log about a verb."""
        lines = (self.daemon.folder / "state" / "audit.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["verb"] == verb]

    def failure(self, vm_id: str, within: float = MOVE) -> dict[str, Any]:
        """Wait until the migration has failed; return the error that the API reports."""

        def failed() -> dict[str, Any] | None:
            try:
                self.daemon.rest("GET", f"/api/vms/{vm_id}/migration-status")
            except Refused as refused:
                found: dict[str, Any] = refused.args[1]
                return found
            return None

        return until(failed, within, every=0.1, what="a failure", detail=self.daemon.log)


class Hosts:
    """The source, the destination, and one machine that is always back on the source between the tests."""

    def __init__(self, pair: LabPair, boot: BootFiles, here: Peer, there: Peer) -> None:
        self.pair = pair
        self.here = here
        self.there = there
        self._boot = boot
        self.vm_id = ""

    @classmethod
    @contextlib.contextmanager
    def open(cls, pair: LabPair, boot: BootFiles, folder: Path) -> Iterator[Self]:
        """Start both daemons."""
        xmlrpc = (XMLRPC_HERE, XMLRPC)
        sides = [
            Peer(
                host,
                own,
                daemon_in(
                    host, folder / name, CONFIG,
                    OWN=own, OTHER=other, XMLRPC=port, DISKS=str(pair.first.root / "disks"), ROLE="admin",
                ),
            )
            for host, name, own, other, port in zip(
                (pair.first, pair.second), ("here", "there"), ADDRESSES, ADDRESSES[::-1], xmlrpc, strict=True
            )
        ]  # fmt: skip
        with sides[0].daemon, sides[1].daemon:
            yield cls(pair, boot, *sides)

    def machine(self) -> str:
        """Return the id of a machine that runs on the source; one that has ended is started again."""
        if self.vm_id and (self.here.state(self.vm_id), self.here.status(self.vm_id)) == ("running", "Up"):
            return self.vm_id
        vm_id = self.vm_id = str(uuid.uuid4())
        parameters = {
            "vmId": vm_id,
            "vmName": f"moves-{vm_id[:8]}",
            "memSize": 128,
            "kvmEnable": "false",
            "emulatedMachine": "q35",
            "kernel": str(self._boot.kernel),
            "initrd": str(self._boot.initrd),
            "kernelArgs": f"{self._boot.cmdline} lab.dirty",
            "devices": [
                {
                    "type": "disk",
                    "device": "disk",
                    "iface": "virtio",
                    "format": "raw",
                    "path": str(self.here.host.disk(vm_id)),
                }
            ],
        }
        self.here.daemon.rest("POST", "/api/vms", parameters)
        self.here.wait_for(vm_id, "Up", within=BOOT)
        # It writes to its disk after it has begun to write its memory.
        until(
            lambda: self.here.host.statistics(vm_id).get("block.0.wr.bytes"),
            BOOT,
            every=0.1,
            detail=self.here.daemon.log,
        )
        return vm_id

    def send(self, vm_id: str, dst: str = ADDRESSES[1], **params: Any) -> None:
        """Call `VM.migrate` on the source."""
        given = {"dst": dst, "dstqemu": ADDRESSES[1], "maxBandwidth": SLOW, **params}
        self.here.call("migrate", vm_id, params=given)

    def send_back(self, vm_id: str, dst: str = ADDRESSES[0]) -> None:
        """Let the machine return to the source, as fast as it can."""
        given = {"dst": dst, "dstqemu": ADDRESSES[0], "maxBandwidth": FAST}
        self.there.call("migrate", vm_id, params=given)
        self.runs_here_only(vm_id)

    def send_half_way(self, vm_id: str, **params: Any) -> None:
        """Begin a migration that does not end by itself, and wait until libvirt has sent some memory."""
        self.send(vm_id, **params)
        self.wait_until_half_way(vm_id)

    def wait_until_half_way(self, vm_id: str) -> None:
        """Wait until libvirt on the source has sent some memory, and the destination's has the domain."""
        until(
            lambda: sent(self.here.host, vm_id) and self.there.state(vm_id) == "paused",
            MOVE,
            every=0.2,
            what="memory to be sent",
            detail=lambda: (self.here.progress(vm_id), self.here.daemon.log(), self.there.host.log()),
        )
        self.here.wait_for(vm_id, "Migration Source")
        self.there.wait_for(vm_id, "Migration Destination")

    def hurry(self, vm_id: str) -> None:
        """Let the migration in progress end."""
        self.here.call("migrate-change-params", vm_id, params={"maxBandwidth": FAST})

    def runs_here_only(self, vm_id: str) -> None:
        """Wait until both libvirts and both APIs agree that the machine runs on the source."""
        self._runs_only(self.here, self.there, vm_id)

    def runs_there_only(self, vm_id: str) -> None:
        """Wait until both libvirts and both APIs agree that the machine runs on the destination."""
        self._runs_only(self.there, self.here, vm_id)

    @staticmethod
    def _runs_only(one: Peer, other: Peer, vm_id: str) -> None:
        one.wait_for(vm_id, "Up")
        other.wait_for(vm_id, "", "Down")
        assert (one.state(vm_id), other.state(vm_id)) == ("running", "")


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process as SIGSTOP does: its connections are accepted by the kernel, and nothing is answered."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def sent(host: LabHost, vm_id: str) -> bool:
    """Return whether libvirt's migration of a domain has sent memory."""
    job = dict(
        [part.strip() for part in line.split(":", 1)]
        for line in host.virsh("domjobinfo", vm_id).splitlines()
        if ":" in line
    )
    return job.get("Job type") == "Unbounded" and float(job.get("Memory processed", "0").split()[0]) > 0
