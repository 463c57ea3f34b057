"""The certificates of a lab's host: those of libvirt, QEMU and the daemon, where each looks for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vdsm_bridge.tool.pki_authority import Authority

#: Below /etc/pki: the CA, then certificate and key of the host; libvirt and QEMU are servers and clients.
_CAS = ("CA/cacert.pem", "qemu/ca-cert.pem", "vdsm/certs/cacert.pem")
_HOSTS = (
    ("libvirt/servercert.pem", "libvirt/private/serverkey.pem"),
    ("libvirt/clientcert.pem", "libvirt/private/clientkey.pem"),
    ("qemu/server-cert.pem", "qemu/server-key.pem"),
    ("qemu/client-cert.pem", "qemu/client-key.pem"),
    ("vdsm/certs/vdsmcert.pem", "vdsm/keys/vdsmkey.pem"),
)


def write_certificates(folder: Path, authority: Authority, name: str, addresses: Sequence[str]) -> None:
    """Write the files of one host.

    :param folder: stands in for /etc/pki
    :param addresses: of the host; each is in its certificate
    """
    issued = authority.issue(name, purpose="host", days=2, alternative_names=addresses)
    contents = dict.fromkeys(_CAS, authority.files.certificate)
    for certificate, key in _HOSTS:
        contents |= {certificate: issued.certificate, key: issued.key}
    for path, content in contents.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_bytes(content)
