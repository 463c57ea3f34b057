"""Saved states of domains: memory and devices of a guest, in a file or on a block device."""

from __future__ import annotations

from typing import Any

import libvirt

from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.connection.workers import Pending


class SavedStates:
    """Saves domains and restores them.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def begin_save(self, uuid: str, path: str) -> Pending:
        """Start to save a domain, and to end it once that is done. The call lasts as long.

        The guest is paused first. If saving fails, libvirt resumes a guest that ran before. If this process
        ends, libvirt carries on.

        :param path: an absolute path; what is there is overwritten
        :raises HypervisorUnavailable: libvirt is not reached
        :raises ResourceExhausted: too many calls are under way
        """

        def saved(connection: Any) -> None:
            connection.lookupByUUIDString(uuid).save(path)

        return self._caller.begin(saved, "save", f"(saving of {uuid.lower()})")

    def document(self, path: str, *, timeout: float | None = None) -> str:
        """Return the XML of the domain that a file has the state of.

        :raises HypervisorError: the file has no state
        """
        return self._caller.call(
            lambda connection: str(connection.saveImageGetXMLDesc(path, 0)), "saved_document", timeout=timeout
        )

    def restore(self, uuid: str, path: str, xml: str, *, timeout: float | None = None) -> None:
        """Restore a domain, paused. Its definition, if there is one, stays.

        :param path: of the saved state
        :param xml: the domain to restore, in place of the document in the file: paths and other things that
            the guest does not see may differ
        :raises HypervisorError: the file has no state, or one of a machine that is another one for its guest
        """

        def restored(connection: Any) -> None:
            connection.restoreFlags(path, xml, libvirt.VIR_DOMAIN_SAVE_PAUSED)

        self._caller.call(restored, "restore", target=uuid, timeout=timeout)

    def set_time(self, uuid: str, *, timeout: float | None = None) -> None:
        """Have the guest's clock set from that of its hardware, by its agent.

        :raises AgentUnavailable: it has none, or it does not answer
        """
        self._caller.call_domain(
            uuid,
            lambda domain: domain.setTime(flags=libvirt.VIR_DOMAIN_TIME_SYNC),
            "set_time",
            timeout=timeout,
        )
