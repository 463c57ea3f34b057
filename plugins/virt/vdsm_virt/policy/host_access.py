"""The one decision about what an operator may give a machine, and what needs `admin`.

A machine that has a file, a device or a socket of the host makes the user of the guest root on the host.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from msgspec import UnsetType

from vdsm_bridge.call.context import ROLES, Context
from vdsm_core.volumes import DiskId
from vdsm_virt.api.migration import IncomingParams
from vdsm_virt.api.params import VmParams
from vdsm_virt.create.arrival import documents
from vdsm_virt.create.launch_plan import LaunchPlan
from vdsm_virt.devices.drive_plan import DrivePlan
from vdsm_virt.devices.media import Medium
from vdsm_virt.domain import metadata
from vdsm_virt.errors import NeedsAdmin
from vdsm_virt.policy import document
from vdsm_virt.policy.arriving import ARRIVING
from vdsm_virt.policy.document import Need
from vdsm_virt.policy.image_folders import ImageFolders

#: VDSM's ids of disks that name a device of the host, not an image of a storage domain.
DEVICE_IDS: Final = ("GUID", "UUID")
_ADMIN: Final = ROLES.index("admin")


class HostAccess:
    """Refuses callers below `admin` what would make them root on the host.

    :param operator_custom: shell patterns of the custom properties that operators may set; hooks may turn
        a property into anything
    """

    def __init__(self, folders: ImageFolders, operator_custom: Sequence[str]) -> None:
        self._folders = folders
        self._operator_custom = tuple(operator_custom)

    def check_creation(self, params: VmParams, plan: LaunchPlan, context: Context) -> None:
        """Check a new machine: its parameters as they were sent, and the document made of them.

        :raises NeedsAdmin: the caller's role does not suffice
        """
        self._check(self._creation(params, plan), "VM.create", context)

    def check_disk(self, plan: DrivePlan, verb: str, context: Context) -> None:
        """Check a disk that is to be plugged into a machine.

        :raises NeedsAdmin: the caller's role does not suffice
        """
        self._check(self._disk(plan), verb, context)

    def check_medium(self, medium: Medium, verb: str, context: Context) -> None:
        """Check a medium for a drive of a machine.

        :raises NeedsAdmin: the caller's role does not suffice
        """
        self._check(self._medium(medium), verb, context)

    def check_disk_id(self, disk: DiskId, verb: str, argument: str, context: Context) -> None:
        """Check an image that is given by ids.

        :raises NeedsAdmin: the caller's role does not suffice
        """
        self._check(_device_ids(disk.members(), argument), verb, context)

    def check_arrival(self, params: IncomingParams, context: Context) -> None:
        """Check the description of a machine that is to arrive.

        Its disks are prepared by storage plugins and looked for on this host. The document of the source is
        checked as that of a new machine is; what libvirt adds to every document is harmless.

        :raises InvalidArgument: a document of the request cannot be read
        :raises NeedsAdmin: the caller's role does not suffice
        """
        found = documents(params)
        self._check(self._arrival(params, found), "VM.migrationCreate", context)

    def check_image(
        self, path: str, argument: str, verb: str, context: Context, *, raw: bool = False
    ) -> None:
        """Check the path of a volume that a request gives a running machine.

        :param argument: the member of the request
        :param raw: QEMU opens the volume as raw
        :raises NeedsAdmin: the caller's role does not suffice
        """

        def needs() -> Iterator[Need]:
            if fault := self._folders.fault(path, raw=raw):
                yield Need(argument, f"the image {fault}")

        self._check(needs(), verb, context)

    def check_disk_ids(self, disk: DiskId, argument: str, verb: str, context: Context) -> None:
        """Check the ids of a volume that a request gives a running machine.

        :param argument: the member of the request
        :raises NeedsAdmin: they name a device of the host, and the caller's role does not suffice
        """
        ids = disk.members()
        needs = (
            Need(f"{argument}.{name}", "a block device of the host") for name in DEVICE_IDS if ids.get(name)
        )
        self._check(needs, verb, context)

    def check_device(self, verb: str, device: Element, argument: str, context: Context) -> None:
        """Check a device that is to be plugged into a running machine, or to be changed.

        :param verb: the verb's full name
        :param device: as libvirt will get it
        :param argument: the member of the request that it is from
        :raises NeedsAdmin: the caller's role does not suffice
        """
        domain = Element("domain", {"type": "kvm"})
        SubElement(domain, "devices").append(device)
        needs = document.needs(domain, self._folders, origins={device: argument}, prepared=frozenset())
        self._check(needs, verb, context)

    def check_custom(self, verb: str, argument: str, custom: Mapping[str, str], context: Context) -> None:
        """Check the custom properties of a device.

        :param argument: the member of the request that has them
        :raises NeedsAdmin: the caller's role does not suffice
        """
        self._check(self._custom(argument, custom), verb, context)

    @staticmethod
    def _check(needs: Iterator[Need], verb: str, context: Context) -> None:
        if context.identity.level >= _ADMIN:
            return
        for need in needs:
            raise NeedsAdmin(
                verb=verb,
                identity=context.identity.name,
                needed=ROLES[_ADMIN],
                argument=need.argument,
                reason=need.reason,
            )

    def _creation(self, params: VmParams, plan: LaunchPlan) -> Iterator[Need]:
        known = params.known
        if not isinstance(known.xml, UnsetType):
            yield Need("vmParams.xml", "a domain document, which can give a machine anything of the host")
        yield from self._custom("vmParams.custom", known.custom)
        for index, device in enumerate([] if isinstance(known.devices, UnsetType) else known.devices):
            yield from self._custom(f"vmParams.devices[{index}].custom", device.custom)
        for disk, argument in plan.origins.items():
            target = disk.find("target")
            ids = {} if target is None else plan.disks.get(target.get("dev", ""), {})
            yield from _device_ids(ids, argument)
        yield from document.needs(
            plan.domain,
            self._folders,
            origins=plan.origins,
            prepared=frozenset(plan.disks) | plan.payloads.keys(),
        )

    def _disk(self, plan: DrivePlan) -> Iterator[Need]:
        if plan.ready_xml:
            yield Need(plan.argument, "a document of libvirt, which can give a machine anything of the host")
        yield from self._custom(f"{plan.argument}.custom", plan.custom)
        yield from _device_ids(plan.disk.members(), plan.argument)
        domain = Element("domain")
        SubElement(domain, "devices").append(plan.element)
        yield from document.needs(
            domain,
            self._folders,
            origins={plan.element: plan.argument},
            prepared=frozenset({plan.target} if plan.disk else ()),
        )

    def _medium(self, medium: Medium) -> Iterator[Need]:
        yield from _device_ids(medium.disk.members(), medium.argument)
        if medium.path and (fault := self._folders.fault(medium.path, raw=True)):
            yield Need(medium.argument, f"the image {fault}")

    def _custom(self, argument: str, custom: Mapping[str, str]) -> Iterator[Need]:
        for name in custom:
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in self._operator_custom):
                yield Need(
                    f"{argument}.{name}",
                    "a custom property that [plugin.virt] operator_custom does not name",
                )

    def _arrival(self, params: IncomingParams, found: Mapping[str, Element]) -> Iterator[Need]:
        for member, domain in found.items():
            argument = f"params.{member}"
            known = metadata.read(domain)
            if known is not None:
                yield from self._custom(argument, known.custom)
                for custom in known.device_custom.values():
                    yield from self._custom(argument, custom)
            yield from document.needs(
                domain, self._folders, origins={}, prepared=frozenset(), also=ARRIVING, argument=argument
            )
        for index, device in enumerate(params.known.devices):
            if "disk" not in (device.get("deviceType"), device.get("type")):
                continue
            argument = f"params.devices[{index}]"
            yield from _device_ids(device, argument)
            if fault := self._path_fault(device):
                yield Need(f"{argument}.path", fault)

    def _path_fault(self, device: Mapping[str, Any]) -> str:
        path = device.get("path")
        if not path:
            return ""
        if not isinstance(path, str):
            return "the image's path is no text"
        # The image is looked for only; what the machine opens it as is in the source's document.
        fault = self._folders.fault(path, raw=True)
        return f"the image {fault}" if fault else ""


def _device_ids(ids: Mapping[str, Any], argument: str) -> Iterator[Need]:
    for name in DEVICE_IDS:
        if ids.get(name):
            yield Need(f"{argument}.{name}", "a block device of the host")
