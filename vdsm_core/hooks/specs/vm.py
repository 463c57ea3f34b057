"""Hooks of a machine's life."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from vdsm_core.hooks.declare import check, edit, notify


@edit
def vdsm_before_vm_start(domain: Element, vm_id: str, custom: dict[str, str]) -> None:
    """Edit, in place, the libvirt domain XML of a machine that is about to start.

    :param domain: a copy of the `<domain>` element that is going to be given to libvirt
    :param vm_id: the machine's id
    :param custom: the machine's custom properties
    :raises VdsmError: to refuse the start; the machine goes Down with this error as its exit message
    """


@notify
def vdsm_after_vm_start(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine has started.

    :param vm_id: the machine's id
    :param domain: the XML that libvirt runs
    :param custom: the machine's custom properties
    """


@check
def vdsm_before_vm_pause(vm_id: str) -> None:
    """A machine is about to be paused on request.

    :raises VdsmError: to refuse; the caller sees this error
    """


@notify
def vdsm_after_vm_pause(vm_id: str) -> None:
    """A machine was paused."""


@check
def vdsm_before_vm_cont(vm_id: str) -> None:
    """A paused machine is about to be resumed on request.

    :raises VdsmError: to refuse; the caller sees this error
    """


@notify
def vdsm_after_vm_cont(vm_id: str) -> None:
    """A paused machine was resumed."""


@notify
def vdsm_before_vm_destroy(vm_id: str) -> None:
    """A machine is about to be destroyed. Nothing can prevent that: errors are logged."""


@notify
def vdsm_after_vm_destroy(vm_id: str) -> None:
    """A machine was destroyed and forgotten."""
