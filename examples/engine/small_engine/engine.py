"""Placing, moving and restarting machines. Every step is a verb of a host."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from small_engine.inventory import ENDED, HostLoad, Inventory, Machine, Memory, look
from vdsm_qmf.console import CallRefused, Cluster, EventStream, TransportError, Unreachable

#: Seconds between two looks at a migration; events are quicker, but not of every failure.
_LOOK = 1.0


class EngineError(Exception):
    """A request cannot be carried out; the message has the reason."""


class Engine:
    """Manages the machines of a cluster.

    :param cluster: the console; its user needs the role `operator` on the hosts
    :param addresses: where other hosts reach a host for migration, by host id; otherwise by the host's name
    :param memory: file that keeps the known machines over a restart of the engine
    """

    def __init__(
        self, cluster: Cluster, *, addresses: Mapping[str, str] | None = None, memory: Path | None = None
    ) -> None:
        self._cluster = cluster
        self._addresses = dict(addresses or {})
        self._memory = Memory(memory)

    def inventory(self, timeout: float = 30.0) -> Inventory:
        """Every host and every machine. What is seen is remembered."""
        return look(self._cluster, self._memory, timeout)

    def place(
        self, settings: Mapping[str, Any], *, avoid: Collection[str] = (), timeout: float = 120.0
    ) -> Machine:
        """Start a machine on the least loaded host that has room for it.

        If a host refuses, the next one is tried; not if it does not answer, because the machine may be
        starting there.

        :param settings: as `VM.create` takes them; without `vmId` the machine gets a new one
        :param avoid: ids of hosts that must not be used
        :raises EngineError: no host takes it, or it does not start
        :raises Unreachable: the chosen host does not answer; check again before trying elsewhere
        """
        settings = {"vmId": str(uuid.uuid4()), **settings}
        refusals = []
        for host in self._candidates(int(settings.get("memSize", 0)), avoid):
            with self._changes(settings["vmId"]) as changes:
                try:
                    self._cluster.call(host.id, "VM.create", {"vmParams": settings}, timeout=timeout)
                except CallRefused as error:
                    refusals.append(f"{host.id}: {error}")
                    continue
                self._until(changes, host.id, settings["vmId"], timeout)
                return self._machine(host.id, settings["vmId"])
        why = "; ".join(refusals) or "none has room"
        raise EngineError(f"no host takes '{settings.get('vmName', settings['vmId'])}': {why}")

    def migrate(self, machine: str, target: str, *, timeout: float = 600.0) -> Machine:
        """Move a running machine to another host: the target reserves room, then the source sends it.

        If it cannot be moved, it keeps running on the source, and the reservation is removed.

        :param machine: its id or name
        :raises EngineError: it does not exist, or the hosts cannot move it
        :raises Unreachable: a host does not answer; an inventory shows where the machine is
        """
        found = self._only(machine)
        source = found.host
        if source == target:
            raise EngineError(f"'{found.name}' is on {target} already")
        definition = self._cluster.call(source, "VM.getInfo", {"vmID": found.id})
        with self._changes(found.id) as changes:
            try:
                self._cluster.call(target, "VM.migrationCreate", {"vmID": found.id, "params": definition})
                params = {"vmId": found.id, **self._destination(target)}
                self._cluster.call(source, "VM.migrate", {"vmID": found.id, "params": params})
                self._until_moved(changes, source, target, found.id, timeout)
            except (CallRefused, EngineError) as error:
                self._give_up(target, found.id)
                raise EngineError(f"'{found.name}' stays on {source}: {error}") from error
        self._forget(source, found.id)
        return self._machine(target, found.id)

    def restart_from(
        self, host: str, *, dead: bool = False, timeout: float = 120.0
    ) -> dict[str, Machine | Exception]:
        """Start the machines of a dead host elsewhere; return the outcome by machine.

        Only an operator can confirm that a host is off. If it is merely unreachable, its machines keep
        running, and two instances of one machine destroy its disk.

        :param dead: the host is confirmed to be off
        :raises EngineError: that is not confirmed, the host answers, or its machines are unknown
        """
        if not dead:
            raise EngineError(
                f"an unreachable host may still run: make sure that {host} is off, and confirm it"
            )
        if host in self._cluster.living():
            raise EngineError(f"{host} is running: its heartbeats arrive")
        self.inventory()
        if host not in self._memory.hosts():
            raise EngineError(f"nothing is known of the machines of {host}")
        ended: dict[str, Machine | Exception] = {}
        left = []
        for machine in self._memory.machines(host):
            if machine.status in ENDED:
                left.append(dict(machine.definition))
                continue
            try:
                ended[machine.name] = self.place(machine.settings, avoid={host}, timeout=timeout)
            except (EngineError, TransportError) as error:
                ended[machine.name] = error
                left.append(dict(machine.definition))
        # A machine that was started elsewhere must not be started again by a second request.
        self._memory.learn(host, left)
        return ended

    # -- hosts and machines

    def _candidates(self, memory: int, avoid: Collection[str]) -> list[HostLoad]:
        hosts = [host for host in self.inventory().hosts if host.id not in avoid and host.free >= memory]
        return sorted(hosts, key=lambda host: (host.load, host.machines, host.id))

    def _only(self, machine: str) -> Machine:
        found = self.inventory().find(machine)
        if len(found) != 1:
            where = ", ".join(one.host for one in found) or "no host"
            raise EngineError(f"there must be one machine '{machine}'; it is on {where}")
        return found[0]

    def _machine(self, host: str, vm_id: str) -> Machine:
        definition = self._cluster.call(host, "VM.getInfo", {"vmID": vm_id})
        return Machine(host, str(definition["status"]), definition)

    def _destination(self, host: str) -> dict[str, str]:
        """Return the URI of the target's libvirt, and the address that QEMU sends the memory to."""
        if address := self._addresses.get(host):
            return {"dst": address, "dstqemu": address}
        names = {one.id: one.name for one in self._cluster.hosts()}
        return {"dst": names.get(host, "")}

    # -- waiting

    def _changes(self, vm_id: str) -> EventStream:
        return self._cluster.events(f"|virt|VM_status|{vm_id}")

    def _status(self, host: str, vm_id: str) -> str:
        """Return the state that a host reports now; "Down" if it does not have the machine."""
        try:
            return self._machine(host, vm_id).status
        except CallRefused as error:
            if error.slug != "no-such-vm":
                raise
            return "Down"

    def _until(self, changes: EventStream, host: str, vm_id: str, timeout: float) -> None:
        """Wait until a new machine is up."""
        end = time.monotonic() + timeout
        # It may have been up before the first event could be seen.
        status = self._status(host, vm_id)
        while status != "Up":
            if status == "Down":
                reason = self._machine(host, vm_id).definition.get("exitMessage", "")
                raise EngineError(f"it does not start on {host}: {reason}")
            left = end - time.monotonic()
            if left <= 0:
                raise EngineError(f"it is not up on {host} within {timeout:g} s")
            event = changes.next(min(left, 10 * _LOOK))
            if event is not None and event.host == host and not event.is_gap:
                status = event.params["status"]
            else:
                # After a gap or a timeout: query.
                status = self._status(host, vm_id)

    def _until_moved(
        self, changes: EventStream, source: str, target: str, vm_id: str, timeout: float
    ) -> None:
        """Wait until the machine runs on the target, or the source reports a failure."""
        end = time.monotonic() + timeout
        while True:
            changes.next(_LOOK)
            if self._status(target, vm_id) == "Up":
                return
            self._check(source, vm_id)
            if time.monotonic() > end:
                self._cluster.call(source, "VM.migrateCancel", {"vmID": vm_id})
                raise EngineError(f"it did not arrive on {target} within {timeout:g} s")

    def _check(self, source: str, vm_id: str) -> None:
        """Check at the source whether the machine is still migrating."""
        try:
            self._cluster.call(source, "VM.getMigrationStatus", {"vmID": vm_id})
        except CallRefused:
            # The answer is no for a machine that has left, too.
            if self._status(source, vm_id) != "Down":
                raise

    def _forget(self, source: str, vm_id: str) -> None:
        """Remove the ended machine from the source, which still reports its end."""
        end = time.monotonic() + 10 * _LOOK
        while self._status(source, vm_id) != "Down" and time.monotonic() < end:
            time.sleep(_LOOK / 10)
        with suppress(CallRefused, Unreachable):
            if self._status(source, vm_id) == "Down":
                self._cluster.call(source, "VM.destroy", {"vmID": vm_id})

    def _give_up(self, target: str, vm_id: str) -> None:
        """Give the place on the target up; never a machine that runs there."""
        with suppress(CallRefused, Unreachable):
            if self._status(target, vm_id) in ENDED:
                self._cluster.call(target, "VM.destroy", {"vmID": vm_id})
