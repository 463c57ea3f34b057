"""Every hook of vdsm, its arguments and what may be done in it. This file is the manual.

A `before` hook may change its document in place, and may refuse by raising a `VdsmError`. An `after` hook
only learns of things: what it raises is logged and hurts nobody. Implementations run in order of their
plugins' names.
"""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

import pluggy

__all__ = ["hookimpl"]

PROJECT: Final = "vdsm"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def vdsm_before_vm_start(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """Change, in place, the libvirt domain XML of a machine that is about to start.

    :param vm_id: the machine's id
    :param domain: the `<domain>` element that is going to be given to libvirt
    :param custom: the machine's custom properties
    :raises VdsmError: to refuse the start; the machine goes Down with this error as its exit message
    """


@hookspec
def vdsm_after_vm_start(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine has started. `domain` is the XML that libvirt runs."""


@hookspec
def vdsm_before_vm_pause(vm_id: str) -> None:
    """A machine is about to be paused on request.

    :raises VdsmError: to refuse; the caller sees this error
    """


@hookspec
def vdsm_after_vm_pause(vm_id: str) -> None:
    """A machine was paused."""


@hookspec
def vdsm_before_vm_cont(vm_id: str) -> None:
    """A paused machine is about to be resumed on request.

    :raises VdsmError: to refuse; the caller sees this error
    """


@hookspec
def vdsm_after_vm_cont(vm_id: str) -> None:
    """A paused machine was resumed."""


@hookspec
def vdsm_before_vm_destroy(vm_id: str) -> None:
    """A machine is about to be destroyed. Nothing can stop that: what this raises is logged."""


@hookspec
def vdsm_after_vm_destroy(vm_id: str) -> None:
    """A machine was destroyed and forgotten."""


@hookspec
def vdsm_prepare_disk(vm_id: str, disk: dict[str, object]) -> str | None:
    """Make a disk usable on this host and tell its path; the first answer counts.

    :param disk: the disk as VDSM's clients describe it (`poolID`, `domainID`, ..., `GUID`, `UUID`)
    :returns: an absolute path, or None if this disk is not yours
    :raises VdsmError: the disk is yours and cannot be prepared
    """
