"""Creation of a machine: defined at once, started in the background."""

from __future__ import annotations

import logging
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import HypervisorError, InvalidArgument, OperationFailed, VdsmError
from vdsm_core.hooks.specs.devices import vdsm_after_device_create, vdsm_before_device_create
from vdsm_core.hooks.specs.vm import (
    vdsm_after_vm_start,
    vdsm_before_vm_start,
    vdsm_get_editors,
    vdsm_get_launch_flags,
)
from vdsm_core.hypervisor import (
    DomainExists,
    NoSuchDomain,
    OperationInvalid,
    OperationUnsupported,
    XMLRefused,
)
from vdsm_core.incident import report_incident
from vdsm_core.volumes import DiskId, LeaseId, PreparedDisk
from vdsm_virt.create.launch_plan import LaunchPlan
from vdsm_virt.create.restore import Restorer
from vdsm_virt.devices.disk_hooks import DiskHooks
from vdsm_virt.devices.images import Images, fill_source
from vdsm_virt.devices.leases import lease_element
from vdsm_virt.domain.devices import name_device
from vdsm_virt.domain.elements import check_shape, parse, to_text, under
from vdsm_virt.domain.metadata import Exit
from vdsm_virt.domain.write.disks import UNPREPARED
from vdsm_virt.errors import CannotCreateVM, VMExists
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machine import Machine, Reason
from vdsm_virt.machine.machine_hooks import Subject
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.naming import check_document
from vdsm_virt.machine.networks import NicNetworks

log = logging.getLogger(__name__)


#: libvirt's flag VIR_DOMAIN_START_PAUSED, of hooks that choose launch flags.
_START_PAUSED: Final = 1
#: Seconds for libvirt's event that a machine was started.
_EVENT: Final = 2.0


class Launcher:
    """Defines and starts machines.

    :param timeout: seconds that libvirt may take to start one
    """

    def __init__(
        self,
        machines: Machines,
        images: Images,
        timeout: float,
    ) -> None:
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._mirror = machines.mirror
        self._runs = machines.runs
        self._hooks = machines.hooks
        self._networks = NicNetworks(machines.hypervisor)
        self._machine_hooks = machines.machine_hooks
        self._images = images
        self._disk_hooks = DiskHooks(machines.hooks)
        self._restorer = Restorer(machines, timeout)
        self._timeout = timeout

    def define(self, plan: LaunchPlan) -> Machine:
        """Put a machine on the host, waiting for its launch. On an error nothing has changed.

        :raises VMExists: its id or name is taken
        :raises CannotCreateVM: libvirt does not accept its document
        """
        machine = transitions.defined(plan.id, plan.name)
        self._refuse_known(plan)
        self._inventory.add(machine)
        try:
            self._define(plan)
            return self._mirror.refresh(plan.id) or machine
        except BaseException:
            self._inventory.forget(plan.id)
            raise

    def launch(self, plan: LaunchPlan) -> None:
        """Start a defined machine. A failure is shown as the exit of the machine, not raised."""
        try:
            plan = self._prepare(plan)
            if self._is_doomed(plan.id):
                self._release(plan)
                return
            if plan.saved is None:
                if plan.ours:
                    self._runs.begin(plan.id)
                self._hypervisor.domains.start(plan.id, paused=plan.paused, timeout=self._timeout)
            else:
                self._restorer.restore(plan, plan.saved, self._is_doomed)
            self._arrive(plan)
        except (HypervisorError, CannotCreateVM) as error:
            # What hooks have edited may be what libvirt refuses: the reason names them.
            editors = self._hooks.run(vdsm_get_editors, plan.id)
            self._fail(
                plan, f"{error} (the domain document was edited by {editors})" if editors else str(error)
            )
        except VdsmError as error:
            self._fail(plan, str(error))
        except Exception:  # noqa: BLE001 - logged as an incident
            # Most likely a third-party hook: the machine must not stay in WaitForLaunch.
            incident = report_incident(log, "VM.create", f"The launch of machine {plan.id}")
            self._fail(plan, str(incident))
        finally:
            # A concurrent destroy waits until nothing starts it any more.
            self._inventory.update(plan.id, transitions.launch_given_up)

    def launch_again(self, plan: LaunchPlan) -> Machine | None:
        """Show a machine that is down as one that waits for its launch."""
        return self._inventory.update(plan.id, transitions.starting_again)

    def give_up(self, plan: LaunchPlan, reason: str) -> None:
        """Take back `launch_again`."""
        self._fail(plan, reason)

    def abandon(self, plan: LaunchPlan) -> None:
        """Take back `define`."""
        try:
            self._hypervisor.definitions.undefine(plan.id)
        finally:
            self._inventory.forget(plan.id)

    def _refuse_known(self, plan: LaunchPlan) -> None:
        """Refuse an id that libvirt has: it would replace the definition silently."""
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
        """Return the plan with the document that libvirt runs, as the hooks have left it."""
        before = to_text(plan.domain)
        again = plan.again or plan.saved is not None
        for target, ids in plan.disks.items():
            prepared = self._images.prepare(plan.id, DiskId.read(ids))
            edited = self._disk_hooks.after_prepare(
                plan.id, prepared, ids, plan.custom, plan.device_custom.get(f"target:{target}", {})
            )
            _fill(plan.domain, target, edited, again=again)
            if target in plan.exclusive:
                _take_lease(plan.domain, target, prepared)
        for target, medium in plan.payloads.items():
            made = self._images.prepare_payload(plan.id, medium.payload, medium.kind)
            _fill(plan.domain, target, made, again=again)
        self._networks.prepare(plan.domain)
        if self._hooks.implemented(vdsm_before_vm_start) or self._hooks.implemented(
            vdsm_before_device_create
        ):
            # Both documents, that with the changes of the hooks and that without, have the same addresses.
            for nic in plan.domain.iterfind("devices/interface"):
                name_device(nic)
        unedited = to_text(plan.domain)
        domain = self._machine_hooks.edit_devices(vdsm_before_device_create, _subject(plan, plan.domain))
        domain = self._hooks.run(vdsm_before_vm_start, domain, vm_id=plan.id, custom=dict(plan.custom))
        if plan.saved is not None:
            # The guest is there already: what hooks change of its machine is not used, as in VDSM.
            domain = plan.domain
        # Both are the machine's identity by now: a hook cannot change them any more.
        under(domain, "uuid").text = plan.id
        under(domain, "name").text = plan.name
        _check_changed(domain)
        paused = plan.paused or self._hooks.run(vdsm_get_launch_flags, plan.id) == _START_PAUSED
        stored = unedited if plan.saved is None and to_text(domain) != unedited else ""
        ready = msgspec.structs.replace(plan, domain=domain, paused=paused, stored=stored)
        if to_text(domain) != before and not self._is_doomed(plan.id):
            self._define(ready)
        return ready

    def _arrive(self, plan: LaunchPlan) -> None:
        """Show the machine as its domain was found after the start."""
        # Until its event has arrived, earlier ones of a machine of the same id may be under way.
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
        self._store_unedited(plan)
        elapsed = plan.saved.elapsed if plan.saved is not None else 0.0
        after = self._inventory.update(
            plan.id, lambda machine: transitions.launched(machine, domain, details, elapsed)
        )
        if self._is_doomed(plan.id):
            self._end(plan.id)
            return
        if after is not None and after.status == "Down":
            return
        if self._hooks.implemented(vdsm_after_vm_start) or self._hooks.implemented(vdsm_after_device_create):
            subject = _subject(plan, self._running_document(plan))
            self._machine_hooks.run_about(vdsm_after_vm_start, subject)
            self._machine_hooks.run_for_devices(vdsm_after_device_create, subject)

        if plan.saved is not None:
            self._restorer.restored(plan, plan.saved)

    def _store_unedited(self, plan: LaunchPlan) -> None:
        """Keep the definition as it was before the hooks: those of the next start edit it again."""
        if not plan.stored or self._is_doomed(plan.id):
            return
        try:
            now = parse(self._hypervisor.definitions.xml(plan.id, inactive=True, secure=True))
            kept, facts = parse(plan.stored), now.find("metadata")
            # Since then, the run has been marked in them.
            for old in kept.findall("metadata"):
                kept.remove(old)
            if facts is not None:
                kept.append(facts)
            self._hypervisor.definitions.define(to_text(kept))
        except (VdsmError, ValueError) as error:
            log.warning("The definition of machine %s keeps what hooks changed for a run: %s", plan.id, error)

    def _running_document(self, plan: LaunchPlan) -> Element:
        try:
            return parse(self._hypervisor.definitions.xml(plan.id))
        except (VdsmError, ValueError):
            return plan.domain

    def _is_doomed(self, vm_id: str) -> bool:
        """Return whether the machine was destroyed while it was being started."""
        machine = self._inventory.find(vm_id)
        return machine is None or machine.asked == "destroy"

    def _end(self, vm_id: str) -> None:
        try:
            self._hypervisor.domains.destroy(vm_id)
        except (NoSuchDomain, OperationInvalid):
            log.debug("Machine %s was destroyed before it ran", vm_id)
        except VdsmError as error:
            # The verb that destroys it attempts the same once more.
            log.info("Machine %s, which was destroyed during its launch, still runs: %s", vm_id, error)

    def _release(self, plan: LaunchPlan) -> None:
        for ids in plan.disks.values():
            self._images.release(plan.id, DiskId.read(ids))
        self._images.release_payloads(plan.id)

    def _fail(self, plan: LaunchPlan, reason: str) -> None:
        self._release(plan)
        if self._is_doomed(plan.id):
            return
        self._store_unedited(plan)
        log.warning("Cannot start machine %s (%s): %s", plan.id, plan.name, reason)
        ended = Exit(1, Reason.LIBVIRT_START_FAILED, reason)
        if plan.saved is not None:
            ended = Exit(1, Reason.GENERIC_ERROR, f"Wake up from hibernation failed: {reason}")
        self._inventory.update(plan.id, lambda machine: transitions.launch_failed(machine, ended))
        self._mirror.refresh_soon(plan.id)


def _subject(plan: LaunchPlan, domain: Element) -> Subject:
    return Subject(vm_id=plan.id, domain=domain, custom=dict(plan.custom), devices=plan.device_custom)


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


def _has_begun(machine: Machine | None) -> bool:
    return machine is None or machine.active or machine.asked == "destroy"


def _fill(domain: Element, target: str, prepared: PreparedDisk, *, again: bool) -> None:
    """Let a disk refer to its image.

    :param again: it refers to one, which was prepared earlier
    """
    for disk in domain.findall("devices/disk"):
        place, source = disk.find("target"), disk.find("source")
        if place is None or source is None or place.get("dev") != target:
            continue
        if again or any(value.startswith(UNPREPARED) for value in source.attrib.values()):
            fill_source(disk, prepared)


def _take_lease(domain: Element, target: str, prepared: PreparedDisk) -> None:
    """Let the machine hold the lease of a disk's volume, so that no other one writes to it.

    :raises OperationFailed: its storage has no leases
    """
    leaf = prepared.chain[-1] if prepared.chain else None
    if leaf is None or leaf.lease is None:
        raise OperationFailed(reason=f"disk {target} is exclusive, and its storage has no leases")
    lease = LeaseId(sd_id=leaf.id.domain_id, lease_id=leaf.id.volume_id)
    under(domain, "devices").append(lease_element(lease, leaf.lease))
