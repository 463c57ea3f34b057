"""Hooks of a machine's life.

`vm_id` is the machine's id, `domain` a copy of its libvirt domain document (`<domain>`), and `custom` are
its custom properties. Where a document is not for editing, changes of it have no effect.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from vdsm_core.hooks.declare import check, edit, first_result, notify


@edit
def vdsm_before_vm_start(domain: Element, vm_id: str, custom: dict[str, str]) -> None:
    """Edit, in place, the libvirt domain XML of a machine that is about to start.

    :param domain: a copy of the `<domain>` element that libvirt will start
    :param vm_id: the machine's id
    :param custom: the machine's custom properties
    :raises VdsmError: to refuse the start; the machine becomes Down with this error as its exit message
    """


@notify
def vdsm_after_vm_start(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine has started.

    :param vm_id: the machine's id
    :param domain: the XML that libvirt runs
    :param custom: the machine's custom properties
    """


@check
def vdsm_before_vm_pause(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine is about to be paused on request.

    :raises VdsmError: to refuse; the caller gets this error
    """


@notify
def vdsm_after_vm_pause(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine was paused, on request or otherwise: libvirt has reported it."""


@check
def vdsm_before_vm_cont(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A paused machine is about to be resumed on request.

    :raises VdsmError: to refuse; the caller gets this error
    """


@notify
def vdsm_after_vm_cont(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A paused machine was resumed, on request or otherwise: libvirt has reported it."""


@check
def vdsm_before_vm_migrate_source(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine is about to be migrated to another host. Called on the source.

    :raises VdsmError: to refuse; the machine continues on this host
    """


@notify
def vdsm_after_vm_migrate_source(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine was migrated to another host. Called on the source.

    :param domain: the last known XML
    """


@check
def vdsm_before_vm_migrate_destination(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine is about to arrive from another host. Called on the destination.

    :param domain: the XML of the source host
    :raises VdsmError: to refuse; the machine continues on the source
    """


@notify
def vdsm_after_vm_migrate_destination(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine has arrived from another host. Called on the destination."""


@check
def vdsm_before_vm_hibernate(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine is about to be saved to a file and stopped.

    :raises VdsmError: to refuse; the caller gets this error
    """


@notify
def vdsm_after_vm_hibernate(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine was saved and stopped.

    :param domain: the last known XML
    """


@check
def vdsm_before_vm_dehibernate(
    vm_id: str, domain: Element, custom: dict[str, str], from_snapshot: bool
) -> None:
    """A saved machine is about to be restored.

    :param domain: the XML of the saved machine
    :param from_snapshot: whether it is restored from the memory of a snapshot
    :raises VdsmError: to refuse; the machine becomes Down with this error as its exit message
    """


@notify
def vdsm_after_vm_dehibernate(
    vm_id: str, domain: Element, custom: dict[str, str], from_snapshot: bool
) -> None:
    """A saved machine was restored and runs.

    :param from_snapshot: whether it was restored from the memory of a snapshot
    """


@notify
def vdsm_before_vm_destroy(vm_id: str, custom: dict[str, str]) -> None:
    """A machine is about to be destroyed. Nothing can prevent that: errors are logged."""


@notify
def vdsm_after_vm_destroy(vm_id: str, domain: Element, custom: dict[str, str]) -> None:
    """A machine was destroyed and forgotten.

    :param domain: the last known XML; an empty `<domain>` if there is none
    """


@notify
def vdsm_before_vm_set_ticket(
    vm_id: str, domain: Element, custom: dict[str, str], params: dict[str, str]
) -> None:
    """The password of a machine's display is about to be set. Errors are logged, and do not prevent it.

    :param params: `params` of the call, as the client sent them; the password is not among them
    """


@notify
def vdsm_after_vm_set_ticket(
    vm_id: str, domain: Element, custom: dict[str, str], params: dict[str, str]
) -> None:
    """The password of a machine's display was set.

    :param params: `params` of the call, as the client sent them; the password is not among them
    """


@check
def vdsm_before_set_num_of_cpus(vm_id: str, custom: dict[str, str]) -> None:
    """The number of a machine's online processors is about to change.

    :raises VdsmError: to refuse; the caller gets this error
    """


@notify
def vdsm_after_set_num_of_cpus(vm_id: str, custom: dict[str, str]) -> None:
    """The number of a machine's online processors has changed."""


@edit
def vdsm_check_custom_properties(
    kept: dict[str, list[str]], custom: dict[str, str], devices: dict[str, dict[str, str]]
) -> None:
    """Check the custom properties of a machine that is about to be created.

    :param kept: shell patterns of the properties that are stored with the machine, of machines (`vm`) and of
        devices (`device`); to be extended in place by those that later hooks need
    :param custom: the machine's custom properties
    :param devices: those of each device, by the member of the request that has them
    :raises VdsmError: to refuse the machine; the caller gets this error
    """


@first_result
def vdsm_get_launch_flags(vm_id: str) -> int | None:
    """Return the launch flags that hooks before the start of a machine have chosen.

    :returns: libvirt's flags, 0 or 1 (start paused); None if they have chosen none
    """


@first_result
def vdsm_get_editors(vm_id: str) -> str | None:
    """Return what edited the document of a machine that is being started, in words, for an error.

    :returns: such as "hook scripts before_vm_start/50_example"; None if the plugin has edited nothing
    """
