"""Translate a `libvirtError` to an error of the tree."""

from __future__ import annotations

import re
from typing import Any, Final

import libvirt

from vdsm_core.errors import (
    HypervisorError,
    HypervisorLost,
    HypervisorUnavailable,
    NotResponding,
    VdsmError,
)
from vdsm_core.hypervisor.errors import (
    AgentUnavailable,
    CheckpointInconsistent,
    DomainExists,
    NoSuchCheckpoint,
    NoSuchDomain,
    OperationInvalid,
    OperationUnsupported,
    XMLRefused,
)

#: Operations whose argument is a document: complaints about arguments are complaints about that document.
DEFINE: Final = "define"
ATTACH: Final = "attach_device"
CHANGE_MEDIUM: Final = "change_medium"
SET_METADATA: Final = "set_metadata"

#: What drivers report of a device that a definition does not have.
NO_DEVICE: Final = frozenset({libvirt.VIR_ERR_DEVICE_MISSING, libvirt.VIR_ERR_INVALID_ARG})

# Connecting failed, so no call was made.
_NEVER_CONNECTED: Final = frozenset(
    {
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
        libvirt.VIR_ERR_GNUTLS_ERROR,
        libvirt.VIR_ERR_SSH,
        libvirt.VIR_ERR_LIBSSH,
        libvirt.VIR_ERR_UNKNOWN_HOST,
    }
)
_DISCONNECTED: Final = _NEVER_CONNECTED | {libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC}
# The client side of the RPC reports a broken socket, an end of file and a missed keepalive with these codes;
# errors of the daemon's drivers carry the same codes, with the driver as their domain.
_TRANSPORT: Final = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})
_TRANSPORT_CODES: Final = frozenset({libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR})

_BY_CODE: Final[dict[int, type[HypervisorError]]] = {
    libvirt.VIR_ERR_OPERATION_INVALID: OperationInvalid,
    libvirt.VIR_ERR_NO_SUPPORT: OperationUnsupported,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: OperationUnsupported,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: OperationUnsupported,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: OperationUnsupported,
    libvirt.VIR_ERR_XML_ERROR: XMLRefused,
    libvirt.VIR_ERR_XML_DETAIL: XMLRefused,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: XMLRefused,
    libvirt.VIR_ERR_DOM_EXIST: DomainExists,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: AgentUnavailable,
    libvirt.VIR_ERR_AGENT_UNSYNCED: AgentUnavailable,
    libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT: NoSuchCheckpoint,
    libvirt.VIR_ERR_CHECKPOINT_INCONSISTENT: CheckpointInconsistent,
}
_DOCUMENT_CODES: Final = frozenset(
    {
        libvirt.VIR_ERR_INVALID_ARG,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_OS_TYPE,
        libvirt.VIR_ERR_NO_NAME,
        libvirt.VIR_ERR_NO_OS,
        libvirt.VIR_ERR_NO_ROOT,
        libvirt.VIR_ERR_NO_DEVICE,
        libvirt.VIR_ERR_NO_SOURCE,
        libvirt.VIR_ERR_NO_TARGET,
        libvirt.VIR_ERR_NO_KERNEL,
        libvirt.VIR_ERR_INVALID_MAC,
        libvirt.VIR_ERR_PARSE_FAILED,
        libvirt.VIR_ERR_OVERFLOW,
    }
)
# The parser reports some malformed values (a uuid, a MAC address) as internal errors of its own.
_PARSER: Final = frozenset({libvirt.VIR_FROM_DOMAIN, libvirt.VIR_FROM_XML, libvirt.VIR_FROM_CPU})
# virDomainObjListAddLocked words it so, with VIR_ERR_OPERATION_FAILED.
_EXISTS: Final = re.compile(r"already (exists|defined|active)|is already (defined|active)")
# The test driver reports a wrong state as an internal error.
_TEST_DRIVER_STATE: Final = re.compile(r"not running|not paused|already running|not active")
_JOB_HOLDER: Final = re.compile(r"held by (?:\w+=)?(\w+)")


def is_disconnect(error: Any) -> bool:
    """Return whether the connection itself failed, and with it all calls on it."""
    code = error.get_error_code()
    return code in _DISCONNECTED or (code in _TRANSPORT_CODES and error.get_error_domain() in _TRANSPORT)


def flags_unsupported(error: Any) -> bool:
    """Return whether a driver refused an unknown flag (`virCheckFlags`)."""
    return error.get_error_code() == libvirt.VIR_ERR_INVALID_ARG and "unsupported flags" in str(error)


def translate(error: Any, *, uri: str, operation: str, target: str, seconds: float) -> VdsmError:
    """Return the error of the tree that corresponds to a `libvirtError`.

    :param target: the domain's uuid, or what else the call was about
    :param seconds: how long the call had taken
    """
    code, message = error.get_error_code(), error.get_error_message() or str(error)
    # Messages of the XML parser continue with the document and an arrow below it.
    reason = message.splitlines()[0]
    if code in _NEVER_CONNECTED:
        return HypervisorUnavailable(uri=uri, reason=reason)
    if is_disconnect(error):
        return HypervisorLost(uri=uri, operation=operation, object=target, reason=reason)
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return NoSuchDomain(uuid=target)
    if code == libvirt.VIR_ERR_OPERATION_TIMEOUT:
        holder = _JOB_HOLDER.search(reason)
        return NotResponding(
            object=target, operation=holder.group(1) if holder else operation, seconds=seconds
        )
    return _refusal(error, operation, reason)(operation=operation, reason=reason, libvirt_code=code)


def _refusal(error: Any, operation: str, reason: str) -> type[HypervisorError]:
    code = error.get_error_code()
    if operation in (DEFINE, SET_METADATA, ATTACH, CHANGE_MEDIUM):
        if code in _DOCUMENT_CODES or (
            code == libvirt.VIR_ERR_INTERNAL_ERROR and error.get_error_domain() in _PARSER
        ):
            return XMLRefused
        if code == libvirt.VIR_ERR_OPERATION_FAILED and _EXISTS.search(reason):
            return DomainExists
    if flags_unsupported(error):
        return OperationUnsupported
    if error.get_error_domain() == libvirt.VIR_FROM_TEST and _TEST_DRIVER_STATE.search(reason):
        return OperationInvalid
    return _BY_CODE.get(code, HypervisorError)
