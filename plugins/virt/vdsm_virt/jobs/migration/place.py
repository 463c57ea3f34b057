"""The place that a destination keeps for a machine, by calls of its API."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

from vdsm_bridge.transport import CallOptions, CallRefused, TransportError
from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.types import builtins
from vdsm_virt.errors import DestinationRefused
from vdsm_virt.jobs.migration.peers import Peers
from vdsm_virt.machine.describe import definition
from vdsm_virt.machine.machines import Machines

log = logging.getLogger(__name__)

#: Seconds before another attempt at a destination that has no place, as in VDSM.
_FULL_PAUSE: Final = 10.0
#: VDSM's code of a destination with too many incoming migrations.
_FULL: Final = 82
#: The slug of a destination on which another caller has reserved a place for the machine.
_EXPECTED: Final = "already-expected"
#: Seconds for a destination to answer at all.
_PING: Final = 10.0
#: Seconds before each attempt to give up a place; without success it expires there.
_ATTEMPTS: Final = (0.0, 1.0, 5.0)
#: A place that is not there any more, or a machine that has arrived and is not this host's any more.
_GONE: Final = ("no-such-vm", "out-of-scope")


#: What this host has on the destination: nothing, a place, or a place that the caller has reserved there.
Kept = Literal["", "reserved", "of the caller"]


class Announcement(Protocol):
    """What is sent to the destination beside the machine itself."""

    @property
    def incoming_limit(self) -> int:
        """Maximum number of incoming migrations there; 0: as configured."""

    @property
    def enable_guest_events(self) -> bool:
        """Whether the guest agent is to be informed."""


class Place:
    """The place for one machine on its destination.

    The calls run on a thread of their own: a destination that does not answer does not delay the end of the
    task. A place that is granted after that is given up at once.

    :ivar pause: seconds until the next attempt at a destination that had none; 0: now
    """

    def __init__(self, peers: Peers, machines: Machines, vm_id: str, host: str) -> None:
        self._peers = peers
        self._machines = machines
        self._vm_id = vm_id
        self._host = host
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._abandoned = False
        self._kept: Kept = ""
        self._answered = False
        self._error: VdsmError | None = None
        self._again_at = 0.0
        self._attempt = 0

    @property
    def pause(self) -> float:
        """Seconds until the next attempt; 0: now."""
        return max(0.0, self._again_at - time.monotonic())

    def begin(
        self, memory: dict[str, Any], task_id: str, announcement: Announcement, wake: Callable[[], None]
    ) -> bool:
        """Ask the destination, unless that is under way or answered. Return whether it is under way.

        :param memory: of the task; it has what has to be given up
        :param wake: called with the answer
        :raises VdsmError: libvirt does not return the document of the machine
        """
        if self._thread is None:
            arguments = self._arguments(announcement)
            again = bool(memory.get("place"))
            # Until the answer arrives: a daemon that ends meanwhile may have a place.
            memory["place"] = "reserved"
            self._attempt += 1
            self._answered = False
            self._thread = threading.Thread(
                target=self._ask,
                args=(arguments, f"migration-{task_id}-{self._attempt}", again, wake),
                name=f"place-{self._vm_id[:8]}",
                daemon=True,
            )
            self._thread.start()
        return not self._answered

    def result(self, memory: dict[str, Any]) -> bool:
        """Return whether the destination keeps a place; if not, `begin` asks again after `pause`.

        :raises DestinationRefused: it refuses
        :raises OperationFailed: it does not answer
        """
        self._thread = None
        memory["place"] = self._kept
        if self._error is not None:
            raise self._error
        if not self._kept:
            self._again_at = time.monotonic() + _FULL_PAUSE
        return bool(self._kept)

    def give_up(self, memory: dict[str, Any]) -> None:
        """Give up the place, in the background, if this host has one."""
        with self._lock:
            self._abandoned = True
            asking = self._thread is not None and not self._answered
        if memory.pop("place", "") == "reserved" and not asking:
            name = f"leave-{self._vm_id[:8]}"
            threading.Thread(target=self._leave, name=name, daemon=True).start()

    def _arguments(self, announcement: Announcement) -> dict[str, Any]:
        """Return the arguments of `VM.migrationCreate`: the machine, with VDSM's additional members."""
        machine = self._machines.mirror.fresh(self._machines.inventory.get(self._vm_id))
        xml = self._machines.hypervisor.definitions.xml(self._vm_id, inactive=True, migratable=True)
        described: dict[str, Any] = builtins(definition(machine))
        described.update(
            _srcDomXML=xml,
            enableGuestEvents=announcement.enable_guest_events,
            migrationDest="libvirt",
        )
        limit = {"incomingLimit": announcement.incoming_limit} if announcement.incoming_limit else {}
        return {"vmID": self._vm_id, "params": described, **limit}

    def _ask(self, arguments: dict[str, Any], request: str, again: bool, wake: Callable[[], None]) -> None:
        self._kept, error = "", None
        try:
            self._reserve(arguments, request, again=again)
        except VdsmError as failure:
            error = failure
        except Exception:
            # Of a transport that another distribution ships.
            log.exception("The transport to %s failed", self._host)
            error = OperationFailed(reason=f"{self._host} cannot be called; the log has the reason")
        with self._lock:
            superfluous = self._abandoned and self._has_own()
            self._error, self._answered = error, True
        if superfluous:
            self._leave()
        wake()

    def _has_own(self) -> bool:
        return self._kept == "reserved"

    def _reserve(self, arguments: dict[str, Any], request: str, *, again: bool) -> None:
        try:
            transport = self._peers.reach(self._host)
            try:
                transport.call("Host.ping", {}, CallOptions(timeout=min(_PING, self._peers.timeout)))
                # Also without an answer it may have been carried out.
                self._kept = "reserved"
                options = CallOptions(timeout=self._peers.timeout, request_id=request)
                transport.call("VM.migrationCreate", arguments, options)
            finally:
                transport.close()
        except CallRefused as error:
            if error.slug == _EXPECTED:
                # Unless it is the answer to an earlier daemon's question, the place is not this host's.
                self._kept = "reserved" if again else "of the caller"
                return
            self._kept = ""
            if error.code != _FULL:
                raise self._refused(error) from None
            log.info("%s has no place for machine %s: %s", self._host, self._vm_id, error)
        except TransportError as error:
            raise OperationFailed(reason=str(error)) from None

    def _refused(self, error: CallRefused) -> DestinationRefused:
        return DestinationRefused(
            vm_id=self._vm_id,
            destination=self._host,
            reason=error.message,
            slug=error.slug,
            code=error.code or 12,
        )

    def _leave(self) -> None:
        """Have the destination forget the machine, which has not arrived."""
        for pause in _ATTEMPTS:
            time.sleep(pause)
            try:
                transport = self._peers.reach(self._host)
                try:
                    options = CallOptions(timeout=min(_PING, self._peers.timeout))
                    transport.call("VM.destroy", {"vmID": self._vm_id}, options)
                finally:
                    transport.close()
            except CallRefused as error:
                if error.slug not in _GONE:
                    log.warning("%s does not give up machine %s: %s", self._host, self._vm_id, error)
                return
            except TransportError as error:
                log.warning("Cannot give up the place of machine %s: %s", self._vm_id, error)
            else:
                log.info("%s has given up the place of machine %s", self._host, self._vm_id)
                return
