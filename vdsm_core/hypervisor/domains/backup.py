"""Backups of the disks of a running domain, and the checkpoints that they are counted from."""

from __future__ import annotations

from typing import Any

import libvirt

from vdsm_core.hypervisor.connection.caller import Caller


class Backups:
    """Runs backups in pull mode: clients read them from QEMU. `Jobs.abort` ends one.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def begin(self, uuid: str, xml: str, checkpoint: str | None, *, timeout: float | None = None) -> None:
        """Start a backup. Returns once its disks can be read.

        :param xml: a `<domainbackup>` document; its scratch volumes exist
        :param checkpoint: a `<domaincheckpoint>` document to create at the same moment
        :raises CheckpointInconsistent: a bitmap of an earlier checkpoint is absent or damaged
        :raises NoSuchCheckpoint: there is none to count from
        """
        flags = libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL
        self._caller.call_domain(
            uuid, lambda domain: domain.backupBegin(xml, checkpoint, flags), "backup", timeout=timeout
        )

    def xml(self, uuid: str, *, timeout: float | None = None) -> str | None:
        """Return the document of the backup that is under way; None if there is none."""

        def found(domain: Any) -> str | None:
            try:
                return str(domain.backupGetXMLDesc())
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_BACKUP:
                    raise
            return None

        return self._caller.call_domain(uuid, found, "backup_xml", timeout=timeout)


class Checkpoints:
    """Reads and changes the checkpoints of domains.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def names(self, uuid: str, *, timeout: float | None = None) -> list[str]:
        """Return the names of all checkpoints, each after its parent."""

        def listed(domain: Any) -> list[str]:
            flags = libvirt.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL
            return [str(each.getName()) for each in domain.listAllCheckpoints(flags)]

        return self._caller.call_domain(uuid, listed, "checkpoints", timeout=timeout)

    def xml(self, uuid: str, name: str, *, timeout: float | None = None) -> str:
        """Return the document of a checkpoint, without that of its domain.

        :raises NoSuchCheckpoint: there is none of this name
        """
        flags = libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
        return self._caller.call_domain(
            uuid,
            lambda domain: str(domain.checkpointLookupByName(name).getXMLDesc(flags)),
            "checkpoint_xml",
            timeout=timeout,
        )

    def redefine(self, uuid: str, xml: str, *, timeout: float | None = None) -> None:
        """Record a checkpoint whose bitmaps are in the volumes.

        :raises CheckpointInconsistent: a bitmap is absent or damaged
        """
        flags = (
            libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE
            | libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE
        )
        self._caller.call_domain(
            uuid,
            lambda domain: domain.checkpointCreateXML(xml, flags) and None,
            "redefine_checkpoint",
            timeout=timeout,
        )

    def delete(self, uuid: str, name: str, *, timeout: float | None = None) -> None:
        """Remove a checkpoint; what it recorded is added to its parent.

        :raises NoSuchCheckpoint: there is none of this name
        """
        self._caller.call_domain(
            uuid,
            lambda domain: domain.checkpointLookupByName(name).delete(0),
            "delete_checkpoint",
            timeout=timeout,
        )
