"""Other hypervisors, which are read to import their domains; each on a connection of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from xml.etree.ElementTree import Element

import libvirt
import msgspec
from defusedxml import ElementTree

from vdsm_core.hypervisor.connection.workers import Workers
from vdsm_core.hypervisor.errors import ExternalHypervisorError
from vdsm_core.secret import Secret

T = TypeVar("T")

_USER: Final = frozenset({libvirt.VIR_CRED_USERNAME, libvirt.VIR_CRED_AUTHNAME})
_PASSWORD: Final = frozenset({libvirt.VIR_CRED_PASSPHRASE, libvirt.VIR_CRED_NOECHOPROMPT})


class ExternalDisk(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a disk.

    :ivar capacity: bytes that the guest sees
    :ivar allocation: bytes that it takes on storage
    """

    capacity: int
    allocation: int


class ExternalDomain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain of another hypervisor.

    :ivar name: its name there
    :ivar xml: its document
    :ivar active: whether it runs
    :ivar has_snapshots: None if the hypervisor does not report it
    :ivar disks: by libvirt's target name; disks whose size is not reported are absent
    """

    name: str
    xml: str
    active: bool
    has_snapshots: bool | None
    disks: dict[str, ExternalDisk]


class External:
    """Reads other hypervisors.

    :param connect: opens a connection by URI, with the arguments of `libvirt.openAuth`
    """

    def __init__(self, workers: Workers, connect: Callable[..., Any] = libvirt.openAuth) -> None:
        self._workers = workers
        self._connect = connect

    def names(self, uri: str, user: str, password: Secret, *, timeout: float) -> list[str]:
        """Return the names of all domains.

        :param timeout: seconds
        :raises ExternalHypervisorError: it is not reached, or refuses
        :raises HypervisorDeadline: it did not answer in time
        """
        return self._call(uri, user, password, _names, timeout)

    def domains(
        self, uri: str, user: str, password: Secret, names: Sequence[str] | None, *, timeout: float
    ) -> list[ExternalDomain]:
        """Return domains with their documents.

        :param names: which; None for all. Those that do not exist are left out
        :param timeout: seconds
        :raises ExternalHypervisorError: it is not reached, or refuses
        :raises HypervisorDeadline: it did not answer in time
        """

        def read(connection: Any) -> list[ExternalDomain]:
            wanted = None if names is None else set(names)
            domains = [d for d in connection.listAllDomains() if wanted is None or d.name() in wanted]
            return [_domain(connection, domain) for domain in domains]

        return self._call(uri, user, password, read, timeout)

    def _call(self, uri: str, user: str, password: Secret, work: Callable[[Any], T], timeout: float) -> T:
        def answer(credentials: list[list[Any]], _data: object) -> int:
            for credential in credentials:
                if credential[0] in _USER:
                    credential[4] = user
                elif credential[0] in _PASSWORD:
                    credential[4] = password.reveal()
                else:
                    return -1
            return 0

        def call() -> T:
            try:
                connection = self._connect(uri, [[*_USER, *_PASSWORD], answer, None], 0)
                try:
                    return work(connection)
                finally:
                    with contextlib.suppress(libvirt.libvirtError):
                        connection.close()
            except libvirt.libvirtError as error:
                reason = (error.get_error_message() or str(error)).splitlines()[0]
            raise ExternalHypervisorError(uri=uri, reason=reason)

        # Several clients may read one hypervisor; one that hangs must not keep others out.
        return self._workers.run(call, operation="import", target=uri, timeout=timeout, preempts=True)


def _names(connection: Any) -> list[str]:
    return [str(domain.name()) for domain in connection.listAllDomains()]


def _domain(connection: Any, domain: Any) -> ExternalDomain:
    xml = str(domain.XMLDesc(0))
    try:
        has_snapshots = domain.snapshotNum() > 0
    except libvirt.libvirtError:
        has_snapshots = None
    disks = {}
    for disk in ElementTree.fromstring(xml).iterfind("devices/disk"):
        target = disk.find("target")
        size = _size(connection, domain, disk)
        if target is not None and size is not None:
            disks[target.get("dev", "")] = size
    return ExternalDomain(
        name=str(domain.name()),
        xml=xml,
        active=bool(domain.isActive()),
        has_snapshots=has_snapshots,
        disks=disks,
    )


def _size(connection: Any, domain: Any, disk: Element) -> ExternalDisk | None:
    """Return the size of a disk: from its storage volume, else from the domain that has it."""
    source = disk.find("source")
    path = "" if source is None else source.get("file") or source.get("dev") or source.get("name") or ""
    if not path:
        return None
    with contextlib.suppress(libvirt.libvirtError):
        _kind, capacity, allocation = connection.storageVolLookupByPath(path).info()
        return ExternalDisk(capacity=capacity, allocation=allocation)
    with contextlib.suppress(libvirt.libvirtError):
        capacity, allocation, _physical = domain.blockInfo(path)
        return ExternalDisk(capacity=capacity, allocation=allocation)
    return None
