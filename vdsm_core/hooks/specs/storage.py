"""Hooks that storage implements for other features."""

from __future__ import annotations

from vdsm_core.hooks.declare import first_result


@first_result
def vdsm_prepare_disk(vm_id: str, disk: dict[str, object]) -> str | None:
    """Make a disk usable on this host and return its path; the first path counts.

    If a plugin does not return in time, the next ones are called; if none of them has a path either, the
    operation fails with the error of the first.

    :param vm_id: the id of the machine that is going to use the disk
    :param disk: the disk as VDSM's clients describe it (`poolID`, `domainID`, ..., `GUID`, `UUID`)
    :returns: an absolute path, or None if the disk belongs to another plugin
    :raises VdsmError: the disk belongs to this plugin and cannot be prepared
    """
