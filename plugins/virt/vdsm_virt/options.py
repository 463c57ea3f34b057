"""Options of this plugin, `[plugin.virt]`."""

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
        "a URI of libvirt, such as qemu+tls://{host}/system",
        maximum=400,
    ),
]


PeerPattern = Annotated[
    str, patterned(r"^[A-Za-z0-9_.:*?-]+$", "a host's name or address, or a shell pattern", maximum=300)
]
PeerURL = Annotated[
    str,
    patterned(
        r"^(https|xmlrpcs|amqps)://[^\s]+$",
        "the URL of an API, such as https://{host}:8088; https, xmlrpcs or amqps",
        maximum=400,
    ),
]


class VirtOptions(Options, frozen=True):
    """`[plugin.virt]`."""

    #: Accelerator of machines: "auto" is KVM where available, else TCG; "kvm" is always KVM, "tcg" never.
    accelerator: Accelerator = "auto"
    #: Maximum number of seconds that libvirt may take to start a machine.
    launch_timeout: Positive = 300.0
    #: Seconds that a guest has to power off or reboot on request; then its status is "Up" again.
    shutdown_timeout: Positive = 300.0
    #: Seconds for which a machine with a channel for a guest agent is shown as "Powering up" after its start,
    #: until an agent answers; 0: it is "Up" at once.
    agent_patience: Annotated[float, Meta(ge=0, le=86_400, extra_json_schema={"x-unit": "s"})] = 60.0
    #: Seconds after which a machine that an I/O error has paused is destroyed, if its `resumeBehavior` is
    #: "kill".
    paused_timeout: Positive = 80.0
    #: Seconds that a guest has to release a device that is to be unplugged.
    release_timeout: Positive = 30.0
    #: Folder for the images of payloads; empty: `payload` in `[daemon] run_dir`. The emulators' user must be
    #: able to reach it.
    payload_folder: Annotated[str, Meta(pattern="^(/.*)?$")] = ""
    #: Seconds between two samples of the host's load.
    host_sample_interval: Positive = 15.0
    #: File systems whose free space `Host.getStats` reports.
    watched_paths: tuple[str, ...] = ("/tmp", "/var/log")  # noqa: S108 - watched, not written
    #: Memory reserved for the host itself, in MiB.
    host_reserve: MiBOption = 256
    #: Memory reserved beyond `host_reserve`, in MiB.
    extra_reserve: MiBOption = 65
    #: Overhead of a machine beyond its own memory, in MiB.
    guest_overhead: MiBOption = 65
    #: URI of a destination's libvirt if `VM.migrate` names only a host; {host} is its name or address.
    migration_uri: MigrationURI = "qemu+tls://{host}/system"
    #: The APIs of the hosts that machines are migrated to, by the host in `dst`, which may be a shell
    #: pattern: `"*.example.org" = "https://{host}:8088"`. Schemes: `https`, `xmlrpcs`, `amqps`; the
    #: certificate of the other host or of the broker is verified. The API of any other destination has to be
    #: called by the caller of `VM.migrate`.
    peers: dict[PeerPattern, PeerURL] = {}
    #: File with the bearer token of this host on the others; empty: its certificate identifies it.
    peer_token: str = ""
    #: File with the certificates of the CAs that sign the other hosts; empty: `ca` in `[tls]`.
    peer_ca: str = ""
    #: File with the certificate of this host as a client; empty: that in `[tls]`, if there is no token.
    peer_certificate: str = ""
    #: File with its private key; empty: that in `[tls]`.
    peer_key: str = ""
    #: Seconds that another host may take to reserve a place.
    peer_timeout: Positive = 60.0
    #: Maximum number of concurrent outgoing migrations; further ones wait.
    max_outgoing_migrations: AtLeastOne = 2
    #: Maximum number of concurrent incoming migrations; further ones are refused.
    max_incoming_migrations: AtLeastOne = 2
    #: Seconds after which a reservation by `VM.migrationCreate` expires.
    incoming_timeout: Positive = 600.0
    #: Maximum number of milliseconds that a guest is paused by a live migration.
    migration_downtime: Annotated[int, Meta(ge=1, le=3_600_000, extra_json_schema={"x-unit": "ms"})] = 500
    #: Maximum bandwidth of one migration, in MiB/s; 0: no limit.
    migration_max_bandwidth: Annotated[
        int, Meta(ge=0, le=1_000_000, extra_json_schema={"x-unit": "MiB/s"})
    ] = 0
    #: Seconds without progress after which a migration is cancelled.
    migration_progress_timeout: Positive = 150.0
    #: Maximum duration of a migration, in seconds.
    migration_timeout: Positive = 21_600.0
    #: Folders on storage that all hosts share and libvirt does not detect as shared (cluster file systems).
    shared_folders: tuple[AbsoluteFolder, ...] = ()
    #: By how much a thin volume grows, in MiB.
    volume_chunk: Annotated[int, Meta(ge=1, le=1_048_576, extra_json_schema={"x-unit": "MiB"})] = 2560
    #: Free space in percent of `volume_chunk` below which a thin volume is extended.
    volume_free: Annotated[int, Meta(ge=1, le=99, extra_json_schema={"x-unit": "%"})] = 80
    #: Folder of volumes that are thrown away: scratch volumes of backups.
    transient_folder: AbsoluteFolder = "/var/lib/vdsm/storage/transient_disks"
    #: Folders with the images that the role `operator` may give to machines; other paths need `admin`. Links
    #: that lead out of them count as other paths. The daemon must be able to read qcow2 images in them.
    image_folders: tuple[AbsoluteFolder, ...] = ("/var/lib/libvirt/images", "/rhev/data-center")
    #: Custom properties, by shell patterns, that the role `operator` may set; others need `admin`: hooks may
    #: turn them into anything.
    operator_custom: tuple[str, ...] = ("tags",)
    #: Custom properties, by shell patterns, that are stored with a machine and shown to every role. Others
    #: are given to the hooks of the launch only. `tags` are what limited tokens name machines by.
    kept_custom: tuple[str, ...] = ("tags",)
    #: Whether displays are open to every viewer who reaches their port. Otherwise no viewer gets in before
    #: `VM.setTicket` has set a password.
    open_displays: bool = False
    #: Socket of the memory overcommitment manager (MOM).
    mom_socket: AbsoluteFolder = "/run/vdsm/mom-vdsm.sock"
    #: Shell patterns of interfaces to report as NICs on a host without physical ones.
    fake_nics: tuple[str, ...] = ()
    #: Schemes of the URIs of libvirt from which `admin` may import machines.
    import_schemes: tuple[str, ...] = ("vpx", "esx", "xen+ssh", "qemu+ssh", "qemu+tls")
    #: Folders with the OVA files, and ISO images with drivers, that may be imported.
    import_folders: tuple[AbsoluteFolder, ...] = ()
    #: Environment variables of virt-v2v and virt-sysprep, such as LIBGUESTFS_BACKEND_SETTINGS.
    guestfs_environment: dict[str, str] = {}
