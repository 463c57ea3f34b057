"""Secrets that libvirt keeps in memory for QEMU: keys of network disks, and of encrypted volumes."""

from __future__ import annotations

from typing import Any, Final, Literal
from xml.etree.ElementTree import Element, SubElement, tostring

import libvirt
import msgspec

from vdsm_core.hypervisor.connection.caller import Caller

#: What a secret is for, and the element of libvirt's that names its object.
SecretUsage = Literal["ceph", "volume", "iscsi"]
_USAGE_ELEMENT: Final[dict[str, str]] = {"ceph": "name", "volume": "volume", "iscsi": "target"}
_USAGE_TYPE: Final[dict[str, int]] = {
    "ceph": libvirt.VIR_SECRET_USAGE_TYPE_CEPH,
    "volume": libvirt.VIR_SECRET_USAGE_TYPE_VOLUME,
    "iscsi": libvirt.VIR_SECRET_USAGE_TYPE_ISCSI,
}


class LibvirtSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret without its value.

    :ivar uuid: its id
    :ivar usage: what it is for
    :ivar usage_id: the object that it belongs to; unique among secrets of one usage
    :ivar description: for people
    """

    uuid: str
    usage: SecretUsage
    usage_id: str
    description: str = ""


class Secrets:
    """Keeps secrets in libvirt's memory: they are neither written to its disk nor given out by it.

    `timeout` and the errors that every method raises are those of `Caller.call`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def register(self, secret: LibvirtSecret, value: bytes, *, timeout: float | None = None) -> None:
        """Define a secret, in place of one of the same id or the same usage, and set its value.

        :raises HypervisorError: libvirt refuses
        """
        document = _document(secret)

        def register(connection: Any) -> None:
            _forget_same_usage(connection, secret)
            connection.secretDefineXML(document).setValue(value, 0)

        self._caller.call(register, "register_secret", timeout=timeout, target=secret.uuid)

    def unregister(self, uuid: str, *, timeout: float | None = None) -> bool:
        """Forget a secret; return whether there was one.

        :raises HypervisorError: libvirt refuses
        """

        def unregister(connection: Any) -> bool:
            try:
                secret = connection.secretLookupByUUIDString(uuid)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
                    return False
                raise
            secret.undefine()
            return True

        return self._caller.call(unregister, "unregister_secret", timeout=timeout, target=uuid)

    def ids(self, usage_prefix: str, *, timeout: float | None = None) -> list[str]:
        """Return the ids of the secrets whose object's name begins with a text."""

        def read(connection: Any) -> list[str]:
            return [
                secret.UUIDString()
                for secret in connection.listAllSecrets()
                if (secret.usageID() or "").startswith(usage_prefix)
            ]

        return self._caller.call(read, "list_secrets", timeout=timeout)


def _document(secret: LibvirtSecret) -> str:
    root = Element("secret", ephemeral="yes", private="yes")
    SubElement(root, "uuid").text = secret.uuid
    if secret.description:
        SubElement(root, "description").text = secret.description
    usage = SubElement(root, "usage", type=secret.usage)
    SubElement(usage, _USAGE_ELEMENT[secret.usage]).text = secret.usage_id
    return tostring(root, "unicode")


def _forget_same_usage(connection: Any, secret: LibvirtSecret) -> None:
    """Undefine what libvirt would call a conflict: another id of this usage, or another usage of this id."""
    try:
        known = connection.secretLookupByUsage(_USAGE_TYPE[secret.usage], secret.usage_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise
    else:
        if known.UUIDString() != secret.uuid:
            known.undefine()
    try:
        known = connection.secretLookupByUUIDString(secret.uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise
    else:
        if known.usageID() != secret.usage_id or known.usageType() != _USAGE_TYPE[secret.usage]:
            known.undefine()
