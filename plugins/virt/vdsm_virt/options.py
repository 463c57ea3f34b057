"""The options of the feature area, `[plugin.virt]`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vdsm_core.config import Options, Positive
from vdsm_virt.api.scalars import patterned
from vdsm_virt.domain.accelerator import Accelerator

MiBOption = Annotated[int, Meta(ge=0, le=67_108_864, extra_json_schema={"x-unit": "MiB"})]
AtLeastOne = Annotated[int, Meta(ge=1, le=1_000)]
AbsoluteFolder = Annotated[str, Meta(pattern="^/")]
MigrationURI = Annotated[
    str,
    patterned(
        r"^qemu\+(tls|tcp|ssh)://[^?#]*\{host\}[^?#]*$",
        "a URI of libvirt's such as qemu+tls://{host}/system",
        most=400,
    ),
]


class VirtOptions(Options, frozen=True):
    """`[plugin.virt]`."""

    #: Whether machines use KVM: "auto" where it works, "kvm" always, "tcg" never.
    accelerator: Accelerator = "auto"
    #: Seconds that libvirt may take to start a machine.
    launch_timeout: Positive = 300.0
    #: Seconds that a guest has to end or to reboot when it is asked; then it counts as up again.
    shutdown_timeout: Positive = 300.0
    #: Seconds between two samples of the host's load.
    host_sample_interval: Positive = 15.0
    #: File systems whose free space `Host.getStats` reports.
    watched_paths: tuple[str, ...] = ("/tmp", "/var/log")  # noqa: S108 - watched, not written
    #: MiB that the host keeps for itself.
    host_reserve: MiBOption = 256
    #: MiB that it keeps beyond that.
    extra_reserve: MiBOption = 65
    #: MiB that a machine costs beyond its own memory.
    guest_overhead: MiBOption = 65
    #: URI of another host's libvirt, for `VM.migrate` with a mere host; {host} is its name or address.
    migration_uri: MigrationURI = "qemu+tls://{host}/system"
    #: Machines that leave this host at the same time; further ones wait.
    max_outgoing_migrations: AtLeastOne = 2
    #: Machines on their way to this host at the same time.
    max_incoming_migrations: AtLeastOne = 2
    #: Seconds that a place is kept for a machine which `VM.migrationCreate` announces.
    incoming_timeout: Positive = 600.0
    #: Milliseconds that a guest may stand still when it moves.
    migration_downtime: Annotated[int, Meta(ge=1, le=3_600_000, extra_json_schema={"x-unit": "ms"})] = 500
    #: MiB/s that one migration may use; 0 is no limit.
    migration_max_bandwidth: Annotated[
        int, Meta(ge=0, le=1_000_000, extra_json_schema={"x-unit": "MiB/s"})
    ] = 0
    #: Seconds without progress after which a migration is called off.
    migration_progress_timeout: Positive = 150.0
    #: Seconds that a migration may take in all.
    migration_timeout: Positive = 21_600.0
    #: Folders with disks that every host sees, as on a cluster file system that libvirt does not know.
    shared_folders: tuple[AbsoluteFolder, ...] = ()
    #: Interfaces, by shell patterns, that stand in for real NICs where there are none.
    fake_nics: tuple[str, ...] = ()
