"""Configuration: TOML files to typed options, every error with its file and key.

`vdsm.toml` is read first, then `conf.d/*.toml` beside it in name order; a later file overrides single keys of
an earlier one. The folders are those that the service manager passes in the environment (systemd.exec(5)), as
`/etc/vdsm`, and otherwise the XDG folders of the user, also of root.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, cast

import msgspec
from msgspec import Meta

from vdsm_core import types
from vdsm_core.errors import ConfigError
from vdsm_core.roles import Granted

SYSTEM_FILE: Final = Path("/etc/vdsm/vdsm.toml")
SYSTEM_STATE: Final = "/var/lib/vdsm"
SYSTEM_RUN: Final = "/run/vdsm"
SYSTEM_PKI: Final = Path("/etc/pki/vdsm")
#: The account of the packages' service, and the socket of its privileged helper.
SERVICE_ACCOUNT: Final = "vdsm"
SYSTEM_HELPER: Final = "/run/vdsm-helper/socket"

T = TypeVar("T")
#: A duration; at most a week, so that no clock or timer overflows.
Positive = Annotated[float, Meta(gt=0, le=604_800, extra_json_schema={"x-unit": "s"})]
Days = Annotated[float, Meta(gt=0, le=3_650, extra_json_schema={"x-unit": "d"})]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of options. Keys are snake_case; each has a default."""


#: The folders of the system's service, by the variables in which systemd passes them.
_SYSTEM_FOLDERS: Final = {
    "CONFIGURATION_DIRECTORY": str(SYSTEM_FILE.parent),
    "STATE_DIRECTORY": SYSTEM_STATE,
    "RUNTIME_DIRECTORY": SYSTEM_RUN,
}


@contextmanager
def system_folders() -> Iterator[None]:
    """Use `/etc/vdsm`, `/var/lib/vdsm` and `/run/vdsm` in this process, as the system service does.

    Folders of vdsm that the environment already names are kept.
    """
    added = {name: folder for name, folder in _SYSTEM_FOLDERS.items() if _given_dir(name) is None}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, folder in before.items():
            if folder is None:
                del os.environ[name]
            else:
                os.environ[name] = folder


def folders_of_user(*, system: bool = False) -> AbstractContextManager[None]:
    """Use the folders of the daemon of this user in a client; for root, those of the system service.

    :param system: use those of the system service for every user
    """
    return system_folders() if system or os.geteuid() == 0 else nullcontext()


def is_service() -> bool:
    """Return whether a service manager, or `--system`, has chosen the folders of this process."""
    return any(_given_dir(variable) is not None for variable in _SYSTEM_FOLDERS)


def _given_dir(variable: str) -> Path | None:
    # Of several folders, which systemd separates by colons, the first one is the service's own. Another
    # service that starts a daemon, as a CI runner does, passes its folders down: they have other names.
    given = os.environ.get(variable, "").partition(":")[0]
    return Path(given) if Path(given).name.startswith(SERVICE_ACCOUNT) else None


def _user_dir(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "vdsm"


def default_file() -> Path:
    """Return the configuration file of the service, or else of the user that runs this process."""
    folder = _given_dir("CONFIGURATION_DIRECTORY") or _user_dir("XDG_CONFIG_HOME", ".config")
    return folder / "vdsm.toml"


def default_state_dir() -> str:
    """The service's state directory, or else `$XDG_STATE_HOME/vdsm`."""
    return str(_given_dir("STATE_DIRECTORY") or _user_dir("XDG_STATE_HOME", ".local/state"))


def default_pki_dir() -> Path:
    """Return `/etc/pki/vdsm` for the service, as in VDSM, or else `$XDG_CONFIG_HOME/vdsm/pki`."""
    return SYSTEM_PKI if is_service() else _user_dir("XDG_CONFIG_HOME", ".config") / "pki"


def default_certificate() -> str:
    """`/etc/pki/vdsm/certs/vdsmcert.pem` for the service, or else below `$XDG_CONFIG_HOME/vdsm/pki`."""
    return str(default_pki_dir() / "certs" / "vdsmcert.pem")


def default_key() -> str:
    """`/etc/pki/vdsm/keys/vdsmkey.pem` for the service, or else below `$XDG_CONFIG_HOME/vdsm/pki`."""
    return str(default_pki_dir() / "keys" / "vdsmkey.pem")


def default_ca() -> str:
    """`/etc/pki/vdsm/certs/cacert.pem` for the service, or else below `$XDG_CONFIG_HOME/vdsm/pki`."""
    return str(default_pki_dir() / "certs" / "cacert.pem")


def default_run_dir() -> str:
    """The service's runtime directory, or else `$XDG_RUNTIME_DIR/vdsm`."""
    if (folder := _given_dir("RUNTIME_DIRECTORY")) is not None:
        return str(folder)
    if "XDG_RUNTIME_DIR" in os.environ:
        return str(Path(os.environ["XDG_RUNTIME_DIR"]) / "vdsm")
    return str(_user_dir("XDG_STATE_HOME", ".local/state") / "run")


def _own_user() -> Literal["none", "admin"]:
    """`"none"` for a service; `"admin"` for a daemon that a user runs."""
    return "none" if is_service() else "admin"


class DaemonOptions(Options, frozen=True):
    """`[daemon]`: the process as a whole."""

    #: Folder of the SQLite databases: tasks, request ids, event journal.
    state_dir: str = msgspec.field(default_factory=default_state_dir)
    #: Folder of sockets and other files that are removed when the daemon stops.
    run_dir: str = msgspec.field(default_factory=default_run_dir)
    #: Account of a daemon that root has started. "root" keeps the user id, without any capability.
    user: str = SERVICE_ACCOUNT
    #: Groups that it takes along, where they exist: those that may use libvirt and KVM.
    groups: tuple[str, ...] = ("libvirt", "kvm")
    #: Socket of the privileged helper; empty: none. With the default, root's daemon starts its own.
    helper_socket: str = SYSTEM_HELPER
    #: Refuse to start without these plugins.
    required: tuple[str, ...] = ()
    #: Seconds that a call may take if its caller sets no deadline.
    call_deadline: Positive = 60.0
    #: Seconds within which each binding and feature must start; generous, as a booting host is slow.
    start_timeout: Positive = 20.0
    #: Seconds within which each binding and feature must stop at a reload, and the daemon must end.
    grace: Positive = 4.0
    #: Threads for background work that takes seconds: launches, follow-ups, short tasks.
    short_workers: Annotated[int, Meta(ge=1, le=1_000)] = 32
    #: Threads for tasks that may take hours; further ones are queued.
    task_workers: Annotated[int, Meta(ge=1, le=100)] = 10
    #: Maximum number of tasks that are kept, running ones included (VDSM's limit was 500, too).
    task_limit: Annotated[int, Meta(ge=1, le=100_000)] = 500
    #: Days after which finished tasks and answered request ids are removed.
    keep_days: Days = 7.0
    #: The lowest level that is logged.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"


class HypervisorOptions(Options, frozen=True):
    """`[hypervisor]`: the connection to libvirt."""

    #: URI of the hypervisor: `qemu:///system`, `qemu:///session`, or `test:///default`, a simulated one.
    uri: str = "qemu:///system"
    #: Seconds that one call to libvirt may take.
    call_deadline: Positive = 30.0
    #: Seconds between two keepalive probes; three unanswered ones break the connection.
    keepalive: Annotated[int, Meta(ge=1, le=300, extra_json_schema={"x-unit": "s"})] = 5
    #: Seconds before the second attempt to connect; the wait doubles with each further attempt.
    reconnect_first: Positive = 0.5
    #: Maximum number of seconds between two attempts to connect.
    reconnect_most: Positive = 10.0
    #: Seconds between two bulk statistics samples.
    sample_interval: Positive = 2.0


class EventOptions(Options, frozen=True):
    """`[events]`: the journal of events, and subscriptions."""

    #: Approximate size of the journal on disk, in MiB; the oldest events are dropped first.
    journal_size: Annotated[int, Meta(ge=1, le=1_048_576, extra_json_schema={"x-unit": "MiB"})] = 64
    #: Maximum number of days that an event is kept.
    keep_days: Days = 7.0
    #: Seconds after which events are synced to disk: a power failure can lose those of this period.
    sync_interval: Positive = 1.0
    #: Seconds after which a subscription that is not polled expires.
    subscription_timeout: Positive = 300.0
    #: Maximum number of subscriptions made with `Events.subscribe`.
    most_subscriptions: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    #: Maximum number of subscriptions of one client.
    subscriptions_per_client: Annotated[int, Meta(ge=1, le=100_000)] = 250
    #: Maximum number of calls of `Events.next` that wait for events at the same time.
    most_waiting: Annotated[int, Meta(ge=1, le=10_000)] = 100


class HookOptions(Options, frozen=True):
    """`[hooks]`: limits of plugins' hooks."""

    #: Seconds that one plugin's implementation of a hook may take.
    deadline: Positive = 30.0
    #: Deadlines of single hooks, by name, instead of `deadline`: `vdsm_before_vm_start = 120.0` (seconds).
    deadlines: dict[str, Positive] = {}
    #: Maximum number of calls of one implementation that run at the same time; further ones wait.
    max_calls: Annotated[int, Meta(ge=1, le=1_000)] = 32


class AuditOptions(Options, frozen=True):
    """`[audit]`: the log of every action: caller, address, object, outcome."""

    #: Destination: "file", "log" (the log of the daemon, and thus the system's journal), or "none".
    to: Literal["file", "log", "none"] = "file"
    #: The file; empty: `audit.log` in `state_dir`. Earlier files have the suffixes .1, .2 and so on.
    file: str = ""
    #: Maximum size of one file, in MiB.
    file_size: Annotated[int, Meta(ge=1, le=1_048_576, extra_json_schema={"x-unit": "MiB"})] = 16
    #: Number of files that are kept, including the current one.
    files: Annotated[int, Meta(ge=1, le=1_000)] = 8
    #: Time between two log lines with the hash of the newest record, see `vdsm-tool audit verify`.
    head_interval: Annotated[float, Meta(ge=1, le=86_400, extra_json_schema={"x-unit": "s"})] = 300.0


class AccessOptions(Options, frozen=True):
    """Access control: which callers have which role. Names are compared exactly, without wildcards.

    A role can be limited: `"CN=host2" = { role = "operator", verbs = ["VM.destroy"], own = ["VM"] }`.
    """

    #: Role of callers on loopback TCP without credentials, which is any local user; "none" refuses them.
    loopback: Literal["none", "monitor", "operator", "admin"] = "none"
    #: Role of the daemon's own user on the unix socket. "admin" for a daemon that an ordinary user runs from
    #: files of its own, "none" for the daemon of the system: then its groups give it no role either.
    own_user: Literal["none", "monitor", "operator", "admin"] = msgspec.field(default_factory=_own_user)
    #: Roles of local users (unix socket, peer credentials) by name.
    users: dict[str, Granted] = {}
    #: Roles of local groups by name.
    groups: dict[str, Granted] = msgspec.field(default_factory=lambda: {"vdsm": "admin"})
    #: Roles of users that a message broker has authenticated, by name.
    bus_users: dict[str, Granted] = {}
    #: Roles of client certificates, by the whole subject (RFC 4514: `CN=engine,O=Example`), by the common
    #: name alone (`CN=engine`), or by an alternative name with its type (`DNS:engine.example`,
    #: `URI:spiffe://...`).
    certificates: dict[str, Granted] = {}
    #: The file of bearer tokens, which `vdsm-tool token` writes. Empty: `tokens` in `state_dir`, if it is
    #: there.
    tokens: str = ""


class TlsOptions(Options, frozen=True):
    """`[tls]`: the certificate of this host, for every binding whose `tls` is not "off"."""

    #: File with the certificate of this host in PEM form, followed by those between it and its CA.
    certificate: str = msgspec.field(default_factory=default_certificate)
    #: File with its private key in PEM form, without a passphrase. Other users must not be able to read it.
    key: str = msgspec.field(default_factory=default_key)
    #: File with the certificates of the CAs that sign client certificates.
    ca: str = msgspec.field(default_factory=default_ca)
    #: File with revocation lists (PEM), one of each CA in the chains of client certificates; empty: none.
    crl: str = ""
    #: Callers that need a client certificate: "remote" (those on other machines), "required" (all),
    #: or "optional" (none). A certificate that is sent is always verified.
    client_certificates: Literal["remote", "required", "optional"] = "remote"
    #: The oldest version of TLS that is accepted.
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    #: Cipher suites of TLS 1.2, as OpenSSL's list (ciphers(1)); those of TLS 1.3 are not restricted.
    ciphers: str = "ECDHE+AESGCM:ECDHE+CHACHA20"
    #: Seconds within which a client must finish its handshake.
    handshake_timeout: Positive = 10.0
    #: Days before the certificate expires from which on the log and `Host.getPlugins` warn.
    expiry_warning: Days = 30.0


class LimitOptions(Options, frozen=True):
    """`[limits]`: what one client may take, over all bindings together. 0 is no limit.

    Root and other admins on the unix socket are exempt, so that they can always get in.
    """

    #: Calls of one client that run or wait at the same time. A client is a token, certificate, user of the
    #: broker or local user.
    calls_in_flight: Annotated[int, Meta(ge=0, le=100_000)] = 64
    #: Calls per second of one client, on average.
    calls_per_second: Annotated[float, Meta(ge=0, le=1_000_000, extra_json_schema={"x-unit": "1/s"})] = (
        1_000.0
    )
    #: Calls that a client can make at once after a pause, beyond that average.
    call_burst: Annotated[int, Meta(ge=1, le=1_000_000)] = 2_000
    #: HTTP requests per second of one local user or address, with any credentials; further ones are
    #: delayed, not refused.
    requests_per_second: Annotated[float, Meta(ge=0, le=1_000_000, extra_json_schema={"x-unit": "1/s"})] = (
        1_000.0
    )
    #: New HTTP connections per second of one local user or address; further ones are delayed, by the kernel
    #: where no other local user shares the address.
    connections_per_second: Annotated[
        float, Meta(ge=0, le=1_000_000, extra_json_schema={"x-unit": "1/s"})
    ] = 200.0
    #: TLS handshakes per second of one local user or address; further ones are delayed. Each takes as much
    #: time as ten requests.
    handshakes_per_second: Annotated[float, Meta(ge=0, le=100_000, extra_json_schema={"x-unit": "1/s"})] = (
        50.0
    )
    #: HTTP connections of one local user or address, on all addresses of the host together.
    connections: Annotated[int, Meta(ge=0, le=1_000_000)] = 500
    #: Elements of one array, or members of one structure, in the arguments of a call.
    max_items: Annotated[int, Meta(ge=0, le=10_000_000)] = 10_000
    #: Bytes of bodies of HTTP requests that arrive at the same time, of all clients.
    incoming: Annotated[int, Meta(ge=1_048_576, le=2**40, extra_json_schema={"x-unit": "B"})] = (
        128 * 1024 * 1024
    )
    #: Bytes of HTTP replies that wait to be read, of all clients; the largest reply yields first.
    outgoing: Annotated[int, Meta(ge=1_048_576, le=2**40, extra_json_schema={"x-unit": "B"})] = (
        256 * 1024 * 1024
    )


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration. `plugin` holds each plugin's table as read from the files."""

    daemon: DaemonOptions = DaemonOptions()
    hypervisor: HypervisorOptions = HypervisorOptions()
    events: EventOptions = EventOptions()
    hooks: HookOptions = HookOptions()
    audit: AuditOptions = AuditOptions()
    access: AccessOptions = AccessOptions()
    tls: TlsOptions = msgspec.field(default_factory=TlsOptions)
    limits: LimitOptions = LimitOptions()
    plugin: dict[str, dict[str, Any]] = {}
    #: The file that set a key, by dotted key.
    origin: dict[str, str] = {}

    def enabled(self, plugin: str) -> bool:
        """Return whether a plugin is enabled. An installed plugin is, unless its table disables it."""
        return self.plugin.get(plugin, {}).get("enabled", True) is not False

    def options(self, plugin: str, type_: type[T]) -> T:
        """Return the typed options of a plugin.

        :raises ConfigError: an unknown key or a bad value
        """
        table = {key: value for key, value in self.plugin.get(plugin, {}).items() if key != "enabled"}
        return cast("T", _typed(table, type_, f"plugin.{plugin}", self.origin))


#: Every table but the plugins'.
TABLES: Final[dict[str, type[Options]]] = {
    "daemon": DaemonOptions,
    "hypervisor": HypervisorOptions,
    "events": EventOptions,
    "hooks": HookOptions,
    "audit": AuditOptions,
    "access": AccessOptions,
    "tls": TlsOptions,
    "limits": LimitOptions,
}


def load(place: Path | None = None) -> Config:
    """Read the configuration.

    :param place: a file, to read it alone, or a folder with a `vdsm.toml` and a `conf.d`; without it, the
        default ones, where present
    :raises ConfigError: a file cannot be read, or a key or value is not acceptable
    """
    return merge([(str(path), read(path)) for path in files(place)])


def files(place: Path | None = None) -> list[Path]:
    """Return the files that `load` reads; later ones override earlier ones."""
    drop_ins = drop_in_folder(place)
    if place is not None:
        return [place] if drop_ins is None else [place / "vdsm.toml", *sorted(drop_ins.glob("*.toml"))]
    main = default_file()
    return [*([main] if main.exists() else []), *sorted((main.parent / "conf.d").glob("*.toml"))]


def drop_in_folder(place: Path | None = None) -> Path | None:
    """Return the folder of drop-ins, which may be absent; None if `load` reads a single file."""
    if place is None:
        return default_file().parent / "conf.d"
    return place / "conf.d" if place.is_dir() else None


def merge(documents: list[tuple[str, dict[str, Any]]]) -> Config:
    """Return a `Config` of parsed documents, each with its name for error messages.

    :raises ConfigError: a key or value is not acceptable
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name, document in documents:
        _lay_over(merged, document, name, "", origin)
    for key in merged:
        if key not in TABLES and key != "plugin":
            reason = f"there is no such table{_meant(key, [*TABLES, 'plugin'])}"
            raise ConfigError(file=origin[key], key=key, reason=reason)
    tables = {key: _typed(merged.get(key, {}), type_, key, origin) for key, type_ in TABLES.items()}
    _check_hooks(tables["hooks"].deadlines, origin)
    plugins = _typed(merged.get("plugin", {}), dict[str, dict[str, Any]], "plugin", origin)
    for name, table in plugins.items():
        if not isinstance(table.get("enabled", True), bool):
            key = f"plugin.{name}.enabled"
            raise ConfigError(file=origin[key], key=key, reason="expected true or false")
    return Config(**tables, plugin=plugins, origin=origin)


def _check_hooks(names: Collection[str], origin: dict[str, str]) -> None:
    if not names:
        return
    from vdsm_core.hooks import specs  # noqa: PLC0415 - clients read options, too, and need no pluggy

    known = list(specs.every())
    for name in names:
        if name not in known:
            key = f"hooks.deadlines.{name}"
            reason = f"there is no such hook{_meant(name, known)}"
            raise ConfigError(file=_origin_of(key, origin), key=key, reason=reason)


def check_required(config: Config) -> None:
    """Check that no required plugin is disabled.

    :raises ConfigError: one is
    """
    for name in config.daemon.required:
        if not config.enabled(name):
            key = f"plugin.{name}.enabled"
            where = config.origin["daemon.required"]
            reason = f"the plugin is disabled, but 'required' in [daemon] ({where}) names it"
            raise ConfigError(file=config.origin[key], key=key, reason=reason)


def read(path: Path) -> dict[str, Any]:
    """Parse one file.

    :raises ConfigError: it cannot be read, or is not TOML
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(file=str(path), key="(file)", reason=error.strerror or str(error)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(file=str(path), key="(syntax)", reason=str(error)) from None


def _lay_over(
    below: dict[str, Any], above: dict[str, Any], name: str, prefix: str, origin: dict[str, str]
) -> None:
    for key, value in above.items():
        dotted = f"{prefix}{key}"
        origin[dotted] = name
        if isinstance(value, dict) and isinstance(below.get(key, {}), dict):
            _lay_over(below.setdefault(key, {}), value, name, f"{dotted}.", origin)
        else:
            below[key] = value


def _typed(table: Any, type_: Any, prefix: str, origin: dict[str, str]) -> Any:
    try:
        return types.convert(table, type_)
    except types.TypeMismatch as mismatch:
        dot = "." if mismatch.path and not mismatch.path.startswith("[") else ""
        key, reason = f"{prefix}{dot}{mismatch.path}", mismatch.reason
        if mismatch.kind == "unknown":
            reason = f"there is no such key{_meant(mismatch.path, _keys(type_))}"
        raise ConfigError(file=_origin_of(key, origin), key=key, reason=reason) from None


def _keys(type_: Any) -> list[str]:
    return (
        [field.encode_name for field in msgspec.structs.fields(type_)]
        if hasattr(type_, "__struct_fields__")
        else []
    )


def _meant(key: str, known: list[str]) -> str:
    import difflib  # noqa: PLC0415 - needed for errors only

    alike = difflib.get_close_matches(key, known, 1)
    return f"; did you mean '{alike[0]}'?" if alike else ""


def _origin_of(key: str, origin: dict[str, str]) -> str:
    parts = key.replace("[", ".[").split(".")
    while parts:
        if (name := origin.get(".".join(parts))) is not None:
            return name
        parts.pop()
    return "(defaults)"
