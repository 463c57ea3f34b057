"""Migrations on a driver that acts them out: begin them, follow them, end them."""

from __future__ import annotations

import libvirt

from vdsm_virt.errors import MigrationFailed

#: The code of an operation that libvirt could not carry out.
REFUSED = libvirt.VIR_ERR_OPERATION_FAILED


def migrate(vms, vm_id, **params):
    """Ask for a migration."""
    vms.call("VM.migrate", vmID=vm_id, params={"dst": "there", **params})


def progress(vms, vm_id):
    """What the host reports of it."""
    return vms.call("VM.getMigrationStatus", vmID=vm_id)


def outcome(vms, vm_id):
    """How the migration ended, None while it has not."""
    try:
        return "done" if progress(vms, vm_id).status == "done" else None
    except MigrationFailed as failure:
        return failure.facts["reason"]


def feed(vms, *events):
    """Let events of libvirt happen."""
    for event in events:
        vms.hypervisor._dispatcher.announce(event)
