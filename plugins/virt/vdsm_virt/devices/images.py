"""Images of disks, as storage plugins prepare them."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from vdsm_core.errors import OperationFailed
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.storage import vdsm_prepare_disk, vdsm_release_disk
from vdsm_core.volumes import DiskId, PreparedDisk, SourceKind
from vdsm_virt.api.devices import Payload
from vdsm_virt.devices.payload import PayloadKind, decode, label_of, write_image
from vdsm_virt.domain.elements import add, under

#: libvirt's words for the layouts of images.
_FORMATS: Final = {"raw": "raw", "cow": "qcow2"}
#: How the file names of payloads end; VDSM had the same for CD-ROMs.
_PAYLOADS: Final[dict[PayloadKind, str]] = {"cdrom": ".img", "floppy": ".vfd"}
#: The attribute of `<source>` that has the path, by kind.
_SOURCES: Final[dict[SourceKind, str]] = {"file": "file", "block": "dev", "network": "name"}


class Images:
    """Has images prepared and released, and makes those of payloads.

    :param payload_dir: folder of the payloads' images; empty if this host has none
    """

    def __init__(self, hooks: Hooks, payload_dir: str = "") -> None:
        self._hooks = hooks
        self._payload_dir = payload_dir

    def prepare(self, vm_id: str, disk: DiskId) -> PreparedDisk:
        """Make an image usable by a machine.

        :raises OperationFailed: no plugin has it
        :raises VdsmError: its plugin cannot prepare it
        """
        prepared = self._hooks.run(vdsm_prepare_disk, vm_id, disk)
        if prepared is None:
            raise OperationFailed(reason=f"no plugin can prepare the disk ({disk})")
        return prepared

    def prepare_payload(self, vm_id: str, payload: Payload, kind: PayloadKind) -> PreparedDisk:
        """Make an image of the files of a payload, in place of an earlier one.

        :raises InvalidArgument: the files cannot be decoded
        :raises OperationFailed: it cannot be written
        """
        if not self._payload_dir:
            raise OperationFailed(reason="there is no folder for payloads: [daemon] run_dir is not set")
        path = self._payload(vm_id, kind)
        write_image(path, kind, decode(payload, "specParams.vmPayload"), label_of(payload))
        return PreparedDisk(path=str(path), format="raw")

    def release_payloads(self, vm_id: str) -> None:
        """Remove the images of a machine's payloads."""
        if self._payload_dir:
            for kind in _PAYLOADS:
                self._payload(vm_id, kind).unlink(missing_ok=True)

    def payload_paths(self, vm_id: str) -> frozenset[str]:
        """Return the paths of the images that payloads of a machine are made as."""
        if not self._payload_dir:
            return frozenset()
        return frozenset(str(self._payload(vm_id, kind)) for kind in _PAYLOADS)

    def _payload(self, vm_id: str, kind: PayloadKind) -> Path:
        return Path(self._payload_dir, vm_id + _PAYLOADS[kind])

    def release(self, vm_id: str, disk: DiskId) -> None:
        """Report that a machine does not use an image any more."""
        self._hooks.run(vdsm_release_disk, vm_id, disk)


def fill_source(element: Element, prepared: PreparedDisk) -> None:
    """Let a `<disk>` refer to a prepared image: type, source, and layout if storage knows it."""
    element.set("type", prepared.kind)
    source = under(element, "source")
    source.attrib.clear()
    source.set(_SOURCES[prepared.kind], prepared.path)
    if prepared.protocol:
        source.set("protocol", prepared.protocol)
    for host in source.findall("host"):
        source.remove(host)
    for server in prepared.hosts:
        add(source, "host", name=server.name, port=server.port or None, transport=server.transport)
    driver = element.find("driver")
    if driver is not None:
        if prepared.format is not None:
            driver.set("type", _FORMATS[prepared.format])
        if driver.get("io") is not None:
            # Native AIO needs a cache mode without the host's page cache.
            native = prepared.kind == "block" and driver.get("cache") in ("none", "directsync")
            driver.set("io", "native" if native else "threads")
