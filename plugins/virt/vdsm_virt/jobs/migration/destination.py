"""VDSM's parameters of a migration as those of libvirt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Final
from urllib.parse import urlsplit

from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_core.hypervisor import Migration
from vdsm_virt.api.migration import ConvergenceSchedule, MigrateParams
from vdsm_virt.api.scalars import given, truth, whole
from vdsm_virt.machine.machine import Machine

_MAX_CONNECTIONS: Final = 255
#: MiB/s: libvirt counts in bytes with 63 bits.
MAX_BANDWIDTH: Final = 2**43 - 1


def uri(dst: str, template: str) -> str:
    """Return the URI of the other host's libvirt.

    :param dst: the URI itself, or a host as VDSM's engines name it: a port is that of its management API
    :param template: with `{host}`
    """
    return dst if "://" in dst else template.replace("{host}", _bracketed(_split(dst)[0]))


def host_of(dst: str) -> str:
    """Return the name or address of the other host, without brackets and port.

    :param dst: as of `uri`
    """
    authority = urlsplit(dst).netloc.rpartition("@")[2] if "://" in dst else dst
    return _split(authority)[0]


def migration(
    params: MigrateParams,
    machine: Machine,
    schedule: ConvergenceSchedule,
    *,
    template: str,
    bandwidth: int,
    shared: Sequence[str],
) -> Migration:
    """Return how libvirt migrates the machine.

    :param schedule: decides whether post-copy has to be possible
    :param template: of the URI of libvirt, with `{host}`
    :param bandwidth: MiB/s, where the parameters have none
    :param shared: folders that every host sees
    :raises InvalidArgument: the parameters contradict each other
    """
    tunnelled = truth(params.tunneled, False)
    parallel = whole(params.parallel, "params.parallel", 0, maximum=_MAX_CONNECTIONS)
    zerocopy = truth(params.zerocopy, False)
    if tunnelled and (parallel or not isinstance(params.dstqemu, UnsetType)):
        raise InvalidArgument(
            argument="params.tunneled", reason="the memory goes through libvirt: no dstqemu, no parallel"
        )
    if zerocopy and (not parallel or truth(params.encrypted, False) or truth(params.compressed, False)):
        reason = "it needs parallel, and neither encrypted nor compressed"
        raise InvalidArgument(argument="params.zerocopy", reason=reason)
    postcopy = any(item.action.name == "postcopy" for item in schedule.stalling)
    live, encrypted = params.method == "online", truth(params.encrypted, False)
    if postcopy and (tunnelled or not live or parallel):
        # QEMU has no post-copy over several connections before 10.1; not all earlier ones refuse it.
        reason = "post-copy needs method online, no tunnel and no parallel"
        raise InvalidArgument(argument="params.convergenceSchedule", reason=reason)
    if encrypted and tunnelled:
        raise InvalidArgument(argument="params.encrypted", reason="a tunnel is encrypted by libvirt")
    return Migration(
        uri=uri(params.dst, template),
        memory_uri=_memory_uri(params.dstqemu),
        graphics_uri=_graphics_uri(params.console_address, machine),
        bandwidth=whole(params.max_bandwidth, "params.maxBandwidth", bandwidth, maximum=MAX_BANDWIDTH),
        live=live,
        tunnelled=tunnelled,
        compressed=truth(params.compressed, False),
        auto_converge=truth(params.auto_converge, False),
        abort_on_error=truth(params.abort_on_error, False),
        encrypted=encrypted,
        tls_destination=host_of(params.dst) if encrypted else "",
        postcopy=postcopy,
        parallel=parallel,
        zerocopy=zerocopy,
        moves_definition=machine.persistent,
        storage_is_shared=_lies_in(machine, shared),
    )


def disk_paths(machine: Machine) -> Iterator[str]:
    """Return where the machine's disks are on this host."""
    if machine.details is None:
        return
    for device in given(machine.details.definition.devices, []):
        if device.device_type == "disk" and (path := given(device.path, "")):
            yield path


def _lies_in(machine: Machine, folders: Sequence[str]) -> bool:
    """Return whether the machine has disks, and all of them are in these folders."""
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
    """Return a host and ":port", where there is one. IPv6 has more colons; then a port is behind brackets."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, f":{port}"
    return text, ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
