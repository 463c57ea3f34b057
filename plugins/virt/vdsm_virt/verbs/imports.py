"""Verbs of `Host` that import machines of other hypervisors, and that give secrets to libvirt."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Final
from urllib.parse import quote

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.legacy import LegacyMethod
from vdsm_bridge.call.context import Context
from vdsm_core.errors import HypervisorError
from vdsm_core.hypervisor import ExternalDomain, Hypervisor, LibvirtSecret
from vdsm_core.types import UUID
from vdsm_virt.api.imports import ExternalMachine, ImportParams, ImportPassword, SecretInfo
from vdsm_virt.api.scalars import given
from vdsm_virt.errors import (
    BadSecretRequest,
    SecretRegistrationFailed,
    SecretUnregistrationFailed,
    reason_of,
)
from vdsm_virt.imports import describe, ova
from vdsm_virt.imports.conversions import ConversionOrder, Conversions
from vdsm_virt.imports.sources import ImportSources
from vdsm_virt.verbs.host import Host

URI = Annotated[str, Meta(min_length=1, max_length=1024, description="a URI of libvirt")]
User = Annotated[str, Meta(max_length=255)]
Path = Annotated[str, Meta(min_length=1, max_length=4096, pattern="^/[^\\x00]*$")]
Names = Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=10_000)]

#: Names of objects that oVirt's engine gives its secrets; `clear` removes those only.
_OVIRT: Final = "ovirt/"
#: Seconds to read another hypervisor.
_PATIENCE: Final = 120.0


class Imports(Namespace, group_of=Host):
    """Import machines from other hypervisors and from OVA files."""

    def __init__(self, hypervisor: Hypervisor, sources: ImportSources, conversions: Conversions) -> None:
        self._external = hypervisor.external
        self._sources = sources
        self._conversions = conversions

    @action(
        since="1.0",
        access="admin",
        name="getExternalVMs",
        names={"vm_names": "vm_names"},
        legacy=LegacyMethod("getExternalVMs", args=("uri", "username", "password"), reply="vmList"),
    )
    def get_external_vms(
        self,
        context: Context,
        uri: URI,
        username: User,
        password: ImportPassword,
        vm_names: Names | None = None,
    ) -> list[ExternalMachine]:
        """Describe the machines of another hypervisor.

        :param uri: its URI, of a scheme in `[plugin.virt] import_schemes`, without parameters
        :param username: the user there
        :param password: the user's password
        :param vm_names: names of the machines to describe; without them, all
        :raises InvalidArgument: the URI is not acceptable
        :raises ExternalHypervisorError: it is not reached, or refuses
        """
        self._sources.check_uri(uri)
        timeout = context.remaining(_PATIENCE)
        return _described(self._external.domains(uri, username, password, vm_names, timeout=timeout))

    @action(
        since="1.0",
        access="admin",
        name="getExternalVMNames",
        legacy=LegacyMethod("getExternalVMNames", args=("uri", "username", "password"), reply="vmNames"),
    )
    def get_external_vm_names(
        self, context: Context, uri: URI, username: User, password: ImportPassword
    ) -> list[str]:
        """Return the names of the machines of another hypervisor.

        :param uri: its URI, of a scheme in `[plugin.virt] import_schemes`, without parameters
        :param username: the user there
        :param password: the user's password
        :raises InvalidArgument: the URI is not acceptable
        :raises ExternalHypervisorError: it is not reached, or refuses
        """
        self._sources.check_uri(uri)
        return self._external.names(uri, username, password, timeout=context.remaining(_PATIENCE))

    @query(
        since="1.0",
        access="admin",
        names={"ova_path": "ova_path"},
        legacy=LegacyMethod("getExternalVmFromOva", args=("ova_path",), reply="vmList"),
    )
    def get_external_vm_from_ova(self, ova_path: Path) -> ExternalMachine:
        """Describe the machine in an OVA: a tar file, a zip file or a folder.

        :param ova_path: its path, beneath a folder of `[plugin.virt] import_folders`
        :raises InvalidArgument: the path or the OVA is not acceptable
        """
        return describe.ova(ova.read(self._sources.path(ova_path, "ova_path")))

    @action(
        since="1.0",
        access="admin",
        legacy=LegacyMethod("convertExternalVm", args=("uri", "username", "password", "vminfo", "jobid")),
    )
    def convert_external_vm(  # noqa: PLR0917 - VDSM's parameters, in its order
        self,
        context: Context,
        uri: URI,
        username: User,
        password: ImportPassword,
        vminfo: ImportParams,
        jobid: UUID,
    ) -> None:
        """Begin to copy a machine of another hypervisor to volumes of this host, and to make it boot on KVM.

        The machine has to be down there. `v2vJobs` of `Host.getStats` shows how far it is.

        :param uri: URI of the hypervisor
        :param username: the user there
        :param password: the user's password
        :param vminfo: which machine, and which volumes
        :param jobid: the client's id of the job
        :raises ImportJobExists: there is a job of this id
        :raises InvalidArgument: the URI or a path is not acceptable
        """
        self._sources.check_uri(uri)
        source = ("-i", "libvirt", "-ic", _with_user(uri, username))
        order = self._order(jobid, source, vminfo, name=vminfo.vm_name)
        self._conversions.begin(order, password if password else None, context)

    @action(
        since="1.0",
        access="admin",
        names={"ova_path": "ova_path"},
        legacy=LegacyMethod("convertExternalVmFromOva", args=("ova_path", "vminfo", "jobid")),
    )
    def convert_external_vm_from_ova(
        self, context: Context, ova_path: Path, vminfo: ImportParams, jobid: UUID
    ) -> None:
        """Begin to copy the machine of an OVA to volumes of this host, and to make it boot on KVM.

        :param ova_path: path of the OVA, beneath a folder of `[plugin.virt] import_folders`
        :param vminfo: the volumes
        :param jobid: the client's id of the job
        :raises ImportJobExists: there is a job of this id
        :raises InvalidArgument: a path or the OVA is not acceptable
        """
        path = self._sources.path(ova_path, "ova_path")
        # virt-v2v unpacks all members: what leads out of the OVA is refused before.
        ova.read(path)
        order = self._order(jobid, ("-i", "ova", str(path)), vminfo, name="")
        self._conversions.begin(order, None, context)

    @query(since="1.0", legacy=LegacyMethod("getConvertedVm", reply="ovf"))
    def get_converted_vm(self, jobid: UUID) -> str:
        """Return the OVF document of a machine whose conversion is done.

        :param jobid: the job
        :raises NoSuchImportJob: there is no such job
        :raises ImportJobNotDone: it is under way, or has failed
        :raises NoSuchOvf: the document is gone
        """
        return self._conversions.ovf(jobid.lower())

    @action(since="1.0", access="admin", name="abortV2VJob", legacy=LegacyMethod("abortV2VJob"))
    def abort_v2v_job(self, jobid: UUID) -> None:
        """Ask a conversion to stop. The volumes keep what was copied.

        :param jobid: the job
        :raises NoSuchImportJob: there is no such job
        """
        self._conversions.abort(jobid.lower())

    @action(since="1.0", access="admin", name="deleteV2VJob", legacy=LegacyMethod("deleteV2VJob"))
    def delete_v2v_job(self, jobid: UUID) -> None:
        """Forget a conversion that has ended, with its OVF document.

        :param jobid: the job
        :raises NoSuchImportJob: there is no such job
        :raises ImportJobNotDone: it is under way
        """
        self._conversions.delete(jobid.lower())

    def _order(
        self, jobid: str, source: tuple[str, ...], vminfo: ImportParams, *, name: str
    ) -> ConversionOrder:
        iso = given(vminfo.virtio_iso_path, None)
        drivers = str(self._sources.path(iso, "vminfo.virtio_iso_path")) if iso else ""
        return ConversionOrder.read(jobid.lower(), source, vminfo, name=name, drivers=drivers)


class LibvirtSecrets(Namespace, group_of=Host):
    """Give libvirt the secrets of network disks."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._secrets = hypervisor.secrets

    @action(since="1.0", access="admin", legacy=LegacyMethod("registerSecrets", args=("secrets", "clear")))
    def register_secrets(
        self, secrets: Annotated[list[SecretInfo], Meta(max_length=1_000)], clear: bool = False
    ) -> None:
        """Give libvirt secrets, which it keeps in memory only.

        :param secrets: the secrets; one of the same id, or of the same object, is replaced
        :param clear: remove all others of oVirt's, whose objects' names begin with "ovirt/"
        :raises BadSecretRequest: a value is not base64; none has been registered
        :raises SecretRegistrationFailed: libvirt refuses one; those before it are registered
        """
        values = [_decoded(secret) for secret in secrets]
        for secret, value in zip(secrets, values, strict=True):
            try:
                self._secrets.register(
                    LibvirtSecret(
                        uuid=secret.uuid.lower(),
                        usage=secret.usage_type,
                        usage_id=secret.usage_id,
                        description=secret.description,
                    ),
                    value,
                )
            except HypervisorError as error:
                raise SecretRegistrationFailed(uuid=secret.uuid, reason=reason_of(error)) from error
        if clear:
            kept = {secret.uuid.lower() for secret in secrets}
            self._remove([uuid for uuid in self._secrets.ids(_OVIRT) if uuid not in kept])

    @action(since="1.0", access="admin", legacy=LegacyMethod("unregisterSecrets", args=("uuids",)))
    def unregister_secrets(self, uuids: Annotated[list[UUID], Meta(max_length=1_000)]) -> None:
        """Make libvirt forget secrets. Ids that it does not know are ignored.

        :param uuids: ids of the secrets
        :raises SecretUnregistrationFailed: libvirt refuses one; those before it are forgotten
        """
        self._remove([uuid.lower() for uuid in uuids])

    def _remove(self, uuids: Sequence[str]) -> None:
        for uuid in uuids:
            try:
                self._secrets.unregister(uuid)
            except HypervisorError as error:
                raise SecretUnregistrationFailed(uuid=uuid, reason=reason_of(error)) from error


def _decoded(secret: SecretInfo) -> bytes:
    try:
        return base64.b64decode(secret.password.reveal(), validate=True)
    except ValueError:
        raise BadSecretRequest(uuid=secret.uuid, reason="its password is not base64") from None


def _described(domains: Sequence[ExternalDomain]) -> list[ExternalMachine]:
    """Return what can be described: one machine with an unusual document must not hide the others."""
    found = []
    for domain in domains:
        try:
            found.append(describe.domain(domain))
        except ValueError:
            continue
    return found


def _with_user(uri: str, username: str) -> str:
    """Return a URI with the user, from which virt-v2v takes it."""
    scheme, separator, rest = uri.partition("://")
    if not username or "@" in rest.partition("/")[0]:
        return uri
    return f"{scheme}{separator}{quote(username, safe='')}@{rest}"
