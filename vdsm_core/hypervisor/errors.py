"""What the hypervisor refuses, as errors of the tree in `vdsm_core.errors`.

The classes that a caller has to tell apart also stand in the branch that says what the caller can do about
them (`Conflict`, `InvalidRequest`), so that a binding's table by class needs no row for them.
"""

from __future__ import annotations

from vdsm_core.errors import Conflict, HypervisorError, InvalidRequest, NotFound


class NoSuchDomain(NotFound):
    """libvirt knows no domain of this uuid. Facts: `uuid`."""

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
