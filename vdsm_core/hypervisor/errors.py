"""Errors of the hypervisor, a part of the tree in `vdsm_core.errors`.

A class that callers distinguish also derives from the branch that determines their reaction (`Conflict`,
`InvalidRequest`), so that the tables of the bindings need no row for it.
"""

from __future__ import annotations

from vdsm_core.errors import Conflict, HypervisorError, InvalidRequest, NotFound


class NoSuchDomain(NotFound):
    """libvirt has no domain of this uuid. Facts: `uuid`."""

    slug = "no-such-domain"
    code = 1
    template = "There is no domain '{uuid}'"


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
