"""Bringing a machine to life: defined at once, started in the background."""

from __future__ import annotations

import logging
import time
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import InvalidArgument, OperationFailed, VdsmError
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.storage import vdsm_prepare_disk
from vdsm_core.hooks.specs.vm import vdsm_after_vm_start, vdsm_before_vm_start
from vdsm_core.hypervisor import (
    DomainExists,
    Hypervisor,
    NoSuchDomain,
    OperationInvalid,
    OperationUnsupported,
    XMLRefused,
)
from vdsm_virt.create.launch_plan import LaunchPlan
from vdsm_virt.domain.elements import check_shape, parse, to_text, under
from vdsm_virt.domain.metadata import Exit
from vdsm_virt.domain.write.disks import UNPREPARED
from vdsm_virt.errors import CannotCreateVM, VMExists
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import STATUS, Machine, Reason
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.machine.naming import check_document

log = logging.getLogger(__name__)


#: Seconds for libvirt's event that a machine was started.
_EVENT: Final = 2.0


class Launcher:
    """Defines and starts machines.

    :param timeout: seconds that libvirt may take to start one
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        inventory: Inventory,
        mirror: Mirror,
        hooks: Hooks,
        timeout: float,
    ) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._mirror = mirror
        self._hooks = hooks
        self._timeout = timeout

    def define(self, plan: LaunchPlan) -> Machine:
        """Put a machine on the host, waiting for its launch. On an error nothing has changed.

        :raises VMExists: its id or name is taken
        :raises CannotCreateVM: libvirt does not accept its document
        """
        machine = Machine(
            id=plan.id,
            name=plan.name,
            status="WaitForLaunch",
            since=time.time(),
            ours=True,
            launching=True,
        )
        self._refuse_known(plan)
        self._inventory.add(machine)
        try:
            self._define(plan)
            return self._mirror.refresh(plan.id) or machine
        except BaseException:
            self._inventory.forget(plan.id)
            raise

    def launch(self, plan: LaunchPlan) -> None:
        """Start a defined machine. What goes wrong is the machine's end, not an error of this call."""
        try:
            plan = self._prepare(plan)
            if self._is_doomed(plan.id):
                return
            self._hypervisor.domains.start(plan.id, paused=plan.paused, timeout=self._timeout)
            self._arrive(plan)
        except VdsmError as error:
            self._fail(plan, str(error))
        except Exception as error:
            # Most likely a third-party hook: the machine must not stay in WaitForLaunch.
            log.exception("The launch of machine %s failed", plan.id)
            self._fail(plan, f"{type(error).__name__}, see the log of the daemon")
        finally:
            # Whoever destroys it meanwhile waits until nothing starts it any more.
            self._inventory.update(plan.id, _given_up)

    def abandon(self, plan: LaunchPlan) -> None:
        """Take back `define`."""
        self._hypervisor.definitions.undefine(plan.id)
        self._inventory.forget(plan.id)

    def _refuse_known(self, plan: LaunchPlan) -> None:
        """libvirt would replace a definition of the same id and name without a word."""
        try:
            self._hypervisor.domains.get(plan.id)
        except NoSuchDomain:
            return
        raise VMExists(member="vmId", value=plan.id)

    def _define(self, plan: LaunchPlan) -> None:
        try:
            self._hypervisor.definitions.define(to_text(plan.domain))
        except DomainExists as error:
            raise VMExists(member="vmName", value=plan.name) from error
        except (XMLRefused, OperationUnsupported) as error:
            raise CannotCreateVM(reason=error.facts["reason"]) from error

    def _prepare(self, plan: LaunchPlan) -> LaunchPlan:
        """The plan with the document that libvirt is going to run, as the hooks have left it."""
        before = to_text(plan.domain)
        for target, ids in plan.disks.items():
            path = self._hooks.run(vdsm_prepare_disk, plan.id, {**ids})
            if path is None:
                raise OperationFailed(reason=f"no plugin knows how to prepare disk {target} ({_named(ids)})")
            _set_path(plan.domain, target, path)
        domain = self._hooks.run(
            vdsm_before_vm_start, plan.domain, vm_id=plan.id, custom=dict(plan.metadata.custom)
        )
        # Both are the machine's identity by now: a hook cannot change them any more.
        under(domain, "uuid").text = plan.id
        under(domain, "name").text = plan.name
        _check_changed(domain)
        prepared = msgspec.structs.replace(plan, domain=domain)
        if to_text(domain) != before and not self._is_doomed(plan.id):
            self._define(prepared)
        return prepared

    def _arrive(self, plan: LaunchPlan) -> None:
        """It runs: see how, and tell."""
        # Until its event has come, earlier ones of a machine of the same id may still be on their way.
        self._inventory.wait(plan.id, _has_begun, _EVENT)
        if self._is_doomed(plan.id):
            self._end(plan.id)
            return
        try:
            domain = self._hypervisor.domains.get(plan.id)
            details = self._mirror.read(plan.id)
        except NoSuchDomain:
            if self._is_doomed(plan.id):
                return
            raise
        status = STATUS[domain.state]

        def arrived(machine: Machine) -> Machine:
            if machine.asked == "destroy":
                return machine
            return msgspec.structs.replace(
                machine,
                launching=False,
                active=domain.active,
                status=status,
                pause_code="NOERR" if status == "Paused" else "",
                started=time.time(),
                details=details,
                exit=_ENDED_AT_ONCE if status == "Down" else None,
                xml_read=machine.xml_changes,
            )

        self._inventory.update(plan.id, arrived)
        if self._is_doomed(plan.id):
            self._end(plan.id)
            return
        if status == "Down":
            self._mirror.remember_exit_soon(plan.id)
            return
        self._hooks.run(
            vdsm_after_vm_start, plan.id, self._running_document(plan), dict(plan.metadata.custom)
        )

    def _running_document(self, plan: LaunchPlan) -> Element:
        try:
            return parse(self._hypervisor.definitions.xml(plan.id))
        except (VdsmError, ValueError):
            return plan.domain

    def _is_doomed(self, vm_id: str) -> bool:
        """Whether it was destroyed while it was being started."""
        machine = self._inventory.find(vm_id)
        return machine is None or machine.asked == "destroy"

    def _end(self, vm_id: str) -> None:
        try:
            self._hypervisor.domains.destroy(vm_id)
        except (NoSuchDomain, OperationInvalid):
            log.debug("Machine %s was destroyed before it ran", vm_id)

    def _fail(self, plan: LaunchPlan, reason: str) -> None:
        if self._is_doomed(plan.id):
            return
        log.warning("Machine %s (%s) cannot be started: %s", plan.id, plan.name, reason)
        ended = Exit(1, Reason.LIBVIRT_START_FAILED, reason)
        self._inventory.update(plan.id, lambda machine: _failed(machine, ended))
        self._mirror.refresh_soon(plan.id)
        self._mirror.remember_exit_soon(plan.id)


_ENDED_AT_ONCE = Exit(1, Reason.GENERIC_ERROR, "The machine ended as soon as it was started")


def _check_changed(domain: Element) -> None:
    """Check a document after the hooks, which may have put anything into it.

    :raises OperationFailed: it is too deep, or has a name that libvirt cannot make a file name of
    """
    try:
        check_shape(domain)
        check_document(domain, "the domain document")
    except (ValueError, InvalidArgument) as error:
        raise OperationFailed(
            reason=f"a hook changed the domain document to what is not acceptable: {error}"
        ) from None


def _given_up(machine: Machine) -> Machine:
    doomed = machine.launching and machine.asked == "destroy"
    return msgspec.structs.replace(machine, launching=False) if doomed else machine


def _has_begun(machine: Machine | None) -> bool:
    return machine is None or machine.active or machine.asked == "destroy"


def _failed(machine: Machine, ended: Exit) -> Machine:
    return msgspec.structs.replace(
        machine,
        launching=False,
        active=False,
        status="Down",
        exit=ended,
        exit_guessed=False,
        xml_changes=machine.xml_changes + 1,
    )


def _named(ids: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in ids.items())


def _set_path(domain: Element, target: str, path: str) -> None:
    for disk in domain.findall("devices/disk"):
        place, source = disk.find("target"), disk.find("source")
        if place is None or source is None or place.get("dev") != target:
            continue
        if not any(value.startswith(UNPREPARED) for value in source.attrib.values()):
            continue
        block = path.startswith("/dev/")
        disk.set("type", "block" if block else "file")
        source.attrib.clear()
        source.set("dev" if block else "file", path)
