"""From VDSM's parameters to libvirt's: where a machine goes, and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Final

from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_core.hypervisor import Migration
from vdsm_virt.api.migration import MigrateParams
from vdsm_virt.api.scalars import given, truth, whole
from vdsm_virt.machine.machine import Machine

_MOST_CONNECTIONS: Final = 255
#: MiB/s: libvirt counts in bytes with 63 bits.
MOST_BANDWIDTH: Final = 2**43 - 1


def uri(dst: str, template: str) -> str:
    """The URI of the other host's libvirt.

    :param dst: the URI itself, or a host as VDSM's engines name it: a port is that of its management API
    :param template: with `{host}`
    """
    return dst if "://" in dst else template.replace("{host}", _bracketed(_split(dst)[0]))


def migration(
    params: MigrateParams, machine: Machine, *, template: str, bandwidth: int, shared: Sequence[str]
) -> Migration:
    """What libvirt is to do.

    :param template: of libvirt's URI, with `{host}`
    :param bandwidth: MiB/s where the parameters do not say
    :param shared: folders that all hosts see
    :raises InvalidArgument: the parameters contradict each other
    """
    tunnelled = truth(params.tunneled, False)
    parallel = whole(params.parallel, "params.parallel", 0, most=_MOST_CONNECTIONS)
    zerocopy = truth(params.zerocopy, False)
    if tunnelled and (parallel or not isinstance(params.dstqemu, UnsetType)):
        raise InvalidArgument(
            argument="params.tunneled", reason="the memory goes through libvirt: no dstqemu, no parallel"
        )
    if zerocopy and not parallel:
        raise InvalidArgument(argument="params.zerocopy", reason="it needs parallel, too")
    return Migration(
        uri=uri(params.dst, template),
        memory_uri=_memory_uri(params.dstqemu),
        graphics_uri=_graphics_uri(params.console_address, machine),
        bandwidth=whole(params.max_bandwidth, "params.maxBandwidth", bandwidth, most=MOST_BANDWIDTH),
        live=params.method == "online",
        tunnelled=tunnelled,
        compressed=truth(params.compressed, False),
        auto_converge=truth(params.auto_converge, False),
        abort_on_error=truth(params.abort_on_error, False),
        encrypted=truth(params.encrypted, False),
        parallel=parallel,
        zerocopy=zerocopy,
        moves_definition=machine.persistent,
        storage_is_shared=_lies_in(machine, shared),
    )


def disk_paths(machine: Machine) -> Iterator[str]:
    """Where the machine's disks are on this host."""
    if machine.details is None:
        return
    for device in given(machine.details.definition.devices, []):
        if device.device_type == "disk" and (path := given(device.path, "")):
            yield path


def _lies_in(machine: Machine, folders: Sequence[str]) -> bool:
    """Whether the machine has disks, and all of them are in these folders."""
    parents = [PurePath(folder) for folder in folders]
    inside = [
        ".." not in PurePath(path).parts and any(PurePath(path).is_relative_to(folder) for folder in parents)
        for path in disk_paths(machine)
    ]
    return bool(inside) and all(inside)


def _memory_uri(host: str | UnsetType) -> str:
    if isinstance(host, UnsetType):
        return ""
    name, port = _split(host)
    return f"tcp://{_bracketed(name)}{port}"


def _graphics_uri(host: str | UnsetType, machine: Machine) -> str:
    displays = machine.details.displays if machine.details is not None else []
    if isinstance(host, UnsetType) or not displays:
        return ""
    name, port = _split(host)
    return f"{displays[0].type}://{_bracketed(name)}{port}"


def _split(text: str) -> tuple[str, str]:
    """A host and ":port", where there is one. IPv6 has more colons; then a port is behind brackets."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, f":{port}"
    return text, ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
