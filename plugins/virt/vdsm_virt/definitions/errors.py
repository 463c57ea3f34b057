"""Errors about the definitions of machines."""

from __future__ import annotations

from vdsm_core.errors import Conflict, InvalidRequest


class CannotStartVM(Conflict):
    """The machine cannot be started from the definition that is kept of it. Facts: `vm_id`, `reason`."""

    slug = "cannot-start-vm"
    template = "Cannot start machine '{vm_id}': {reason}"


class AutostartRefused(Conflict):
    """The machine must not be started by its host alone. Facts: `vm_id`, `reason`."""

    slug = "autostart-refused"
    template = "Cannot start machine '{vm_id}' with the host: {reason}"


class NotAdopted(Conflict):
    """The machine was defined by another client of libvirt, and is not adopted. Facts: `vm_id`, `action`."""

    slug = "not-adopted"
    template = "Cannot {action} machine '{vm_id}': another client of libvirt defined it; adopt it first"


class CannotAdoptVM(Conflict):
    """The machine of another client cannot be adopted. Facts: `vm_id`, `reason`."""

    slug = "cannot-adopt-vm"
    template = "Cannot adopt machine '{vm_id}': {reason}"


class DefinitionRefused(InvalidRequest):
    """libvirt does not accept a changed definition. Facts: `vm_id`, `reason`."""

    slug = "definition-refused"
    template = "Cannot change the definition of machine '{vm_id}': {reason}"
