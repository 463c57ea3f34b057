"""Errors of the hypervisor, a part of the tree in `vdsm_core.errors`.

A class that callers distinguish also derives from the branch that determines their reaction (`Conflict`,
`InvalidRequest`), so that the tables of the bindings need no row for it.
"""

from __future__ import annotations

from vdsm_core.errors import Conflict, DeadlineExceeded, HypervisorError, InvalidRequest, NotFound


class NoSuchDomain(NotFound):
    """libvirt has no domain of this uuid. Facts: `uuid`."""

    slug = "no-such-domain"
    code = 1
    template = "There is no domain '{uuid}'"


class NoSuchNodeDevice(NotFound):
    """The host has no device of this name. Facts: `name`."""

    slug = "no-such-node-device"
    template = "The host has no device '{name}'"


class OperationInvalid(Conflict, HypervisorError):
    """The domain's state forbids the operation. Facts: `operation`, `reason`, `libvirt_code`."""

    slug = "operation-invalid"
    template = "The domain's state does not allow '{operation}': {reason}"


class OperationUnsupported(HypervisorError):
    """This hypervisor cannot do it. Facts: `operation`, `reason`, `libvirt_code`."""

    slug = "operation-unsupported"
    template = "The hypervisor does not support '{operation}': {reason}"


class XMLRefused(InvalidRequest, HypervisorError):
    """libvirt does not accept the XML. Facts: `operation`, `reason`, `libvirt_code`."""

    slug = "xml-refused"
    template = "The hypervisor does not accept the XML: {reason}"


class DomainExists(Conflict, HypervisorError):
    """The name or the uuid belongs to another domain. Facts: `operation`, `reason`, `libvirt_code`."""

    slug = "domain-exists"
    code = 4
    template = "The domain exists already: {reason}"


class AgentUnavailable(HypervisorError):
    """The guest agent is absent or does not answer. Facts: `operation`, `reason`, `libvirt_code`."""

    slug = "agent-unavailable"
    code = 19
    template = "The guest agent cannot carry out '{operation}': {reason}"


class NoSuchCheckpoint(NotFound, HypervisorError):
    """The domain has no such checkpoint. Facts: `operation`, `reason`, `libvirt_code`."""

    slug = "no-such-domain-checkpoint"
    code = 1611
    template = "There is no such checkpoint: {reason}"


class CheckpointInconsistent(HypervisorError):
    """A volume lacks a bitmap of a checkpoint, or it is damaged.

    Facts: `operation`, `reason`, `libvirt_code`.
    """

    slug = "checkpoint-inconsistent"
    code = 1612
    template = "The bitmaps of the volumes do not fit the checkpoints: {reason}"


class NoSuchDevice(NotFound, HypervisorError):
    """The running machine has no device of this alias. Facts: `uuid`, `alias`."""

    slug = "no-such-device"
    template = "Machine '{uuid}' has no device '{alias}'"


class DeviceNotReleased(DeadlineExceeded, HypervisorError):
    """The guest has not released a device that is to be unplugged; it still may.

    Facts: `alias`, `reason`.
    """

    slug = "device-not-released"
    template = "The guest was requested to release device '{alias}': {reason}"
    in_doubt = True


class ExternalHypervisorError(HypervisorError):
    """Another hypervisor is not reached, or refuses. Facts: `uri`, `reason`."""

    slug = "external-hypervisor-error"
    code = 65
    template = "The hypervisor '{uri}' cannot be read: {reason}"
