"""Configuration: TOML files to typed options, every error with its file and key.

`/etc/vdsm/vdsm.toml` is read first, then `/etc/vdsm/conf.d/*.toml` in name order; a later file overrides
single keys of an earlier one. An ordinary user's files lie below the XDG folders instead.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, cast

import msgspec
from msgspec import Meta

from vdsm_core import types
from vdsm_core.errors import ConfigError

SYSTEM_FILE: Final = Path("/etc/vdsm/vdsm.toml")
SYSTEM_STATE: Final = "/var/lib/vdsm"
SYSTEM_RUN: Final = "/run/vdsm"

Role = Literal["monitor", "operator", "admin"]
T = TypeVar("T")
#: A duration; at most a week, so that no clock or timer overflows.
Positive = Annotated[float, Meta(gt=0, le=604_800, extra_json_schema={"x-unit": "s"})]
Days = Annotated[float, Meta(gt=0, le=3_650, extra_json_schema={"x-unit": "d"})]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of options. Keys are snake_case; each has a default."""


def _user_dir(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "vdsm"


def default_file() -> Path:
    """The configuration file of the user who runs this process."""
    if os.geteuid() == 0:
        return SYSTEM_FILE
    return _user_dir("XDG_CONFIG_HOME", ".config") / "vdsm.toml"


def default_state_dir() -> str:
    """`/var/lib/vdsm`; for an ordinary user `$XDG_STATE_HOME/vdsm`."""
    return SYSTEM_STATE if os.geteuid() == 0 else str(_user_dir("XDG_STATE_HOME", ".local/state"))


def default_run_dir() -> str:
    """`/run/vdsm`; for an ordinary user `$XDG_RUNTIME_DIR/vdsm`."""
    if os.geteuid() == 0:
        return SYSTEM_RUN
    if "XDG_RUNTIME_DIR" in os.environ:
        return str(Path(os.environ["XDG_RUNTIME_DIR"]) / "vdsm")
    return str(_user_dir("XDG_STATE_HOME", ".local/state") / "run")


class DaemonOptions(Options, frozen=True):
    """The process as a whole."""

    #: SQLite: tasks, request ids, event journal.
    state_dir: str = msgspec.field(default_factory=default_state_dir)
    #: Sockets and other files that do not outlive the daemon.
    run_dir: str = msgspec.field(default_factory=default_run_dir)
    #: Refuse to start without these plugins.
    required: tuple[str, ...] = ()
    #: Seconds that a call may take when its caller names no deadline.
    call_deadline: Positive = 60.0
    #: Seconds that each binding and feature gets to start. A machine that boots is slow.
    start_timeout: Positive = 20.0
    #: Seconds that each binding and feature gets to stop at a reload; and the daemon to end.
    grace: Positive = 4.0
    #: Threads for work of seconds in the background: launches, follow-ups, short tasks.
    short_workers: Annotated[int, Meta(ge=1, le=1_000)] = 32
    #: Threads for tasks that may take hours; further ones wait in their queue.
    task_workers: Annotated[int, Meta(ge=1, le=100)] = 10
    #: Tasks kept at the most, running ones included (VDSM's limit was 500, too).
    task_limit: Annotated[int, Meta(ge=1, le=100_000)] = 500
    #: Days that finished tasks and answered request ids are remembered.
    keep_days: Days = 7.0
    #: The least important level to log.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"


class HypervisorOptions(Options, frozen=True):
    """The connection to libvirt."""

    #: Which hypervisor: `qemu:///system`, `qemu:///session`, or `test:///default`, a made-up one.
    uri: str = "qemu:///system"
    #: Seconds that one call to libvirt may take.
    call_deadline: Positive = 30.0
    #: Seconds between two keepalive probes; three unanswered ones break the connection.
    keepalive: Annotated[int, Meta(ge=1, le=300, extra_json_schema={"x-unit": "s"})] = 5
    #: Seconds before the second attempt to connect; the wait doubles with each further attempt.
    reconnect_first: Positive = 0.5
    #: Seconds between two attempts to connect at the most.
    reconnect_most: Positive = 10.0
    #: Seconds between two bulk statistics samples.
    sample_interval: Positive = 2.0


class EventOptions(Options, frozen=True):
    """`[events]`: the journal of events, and its subscribers."""

    #: MiB that the journal may take on the disk, about; the oldest events go first.
    journal_size: Annotated[int, Meta(ge=1, le=1_048_576, extra_json_schema={"x-unit": "MiB"})] = 64
    #: Days that an event is kept at the most.
    keep_days: Days = 7.0
    #: Seconds after which events are forced to the disk: what a power cut can lose.
    sync_interval: Positive = 1.0
    #: Seconds after which a subscription that nobody asks for events ends.
    subscription_timeout: Positive = 300.0
    #: Subscriptions of `Events.subscribe` at the same time.
    most_subscriptions: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    #: Calls of `Events.next` that may wait for events at the same time.
    most_waiting: Annotated[int, Meta(ge=1, le=10_000)] = 100


class HookOptions(Options, frozen=True):
    """`[hooks]`: the time that plugins' hooks may take."""

    #: Seconds that one plugin's implementation of a hook may take.
    deadline: Positive = 30.0
    #: Deadlines of single hooks, by name, instead of `deadline`: `vdsm_before_vm_start = 120.0` (seconds).
    deadlines: dict[str, Positive] = {}
    #: Calls of one implementation that run at the same time; further ones wait.
    max_calls: Annotated[int, Meta(ge=1, le=1_000)] = 32


class AuditOptions(Options, frozen=True):
    """`[audit]`: the log of every action: who, from where, on what, with which outcome."""

    #: Where it goes: "file", "log" (the daemon's own log, so to the journal of the system), or "none".
    to: Literal["file", "log", "none"] = "file"
    #: The file; empty: `audit.log` in `state_dir`. The ones before it get the suffixes .1, .2 and so on.
    file: str = ""
    #: MiB that one file may have.
    file_size: Annotated[int, Meta(ge=1, le=1_048_576, extra_json_schema={"x-unit": "MiB"})] = 16
    #: Files that are kept, the one that is written included.
    files: Annotated[int, Meta(ge=1, le=1_000)] = 8


class AccessOptions(Options, frozen=True):
    """Who is let in, and with which role."""

    #: Role of callers on loopback TCP without credentials, which is any local user; "none" refuses them.
    loopback: Literal["none", "monitor", "operator", "admin"] = "none"
    #: Roles of local users (unix socket, peer credentials) by name. root is admin always.
    users: dict[str, Role] = {}
    #: Roles of local groups by name.
    groups: dict[str, Role] = msgspec.field(default_factory=lambda: {"vdsm": "admin"})
    #: Roles of users whom a message broker has authenticated, by name.
    bus_users: dict[str, Role] = {}
    #: A file with one bearer token a line: `role name sha256-of-token-in-hex`. Empty: no tokens.
    tokens: str = ""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration. `plugin` holds each plugin's table as it stands in the files."""

    daemon: DaemonOptions = DaemonOptions()
    hypervisor: HypervisorOptions = HypervisorOptions()
    events: EventOptions = EventOptions()
    hooks: HookOptions = HookOptions()
    audit: AuditOptions = AuditOptions()
    access: AccessOptions = AccessOptions()
    plugin: dict[str, dict[str, Any]] = {}
    #: Which file set a key, by dotted key.
    origin: dict[str, str] = {}

    def enabled(self, plugin: str) -> bool:
        """Whether a plugin is switched on. An installed plugin is, unless its table says otherwise."""
        return self.plugin.get(plugin, {}).get("enabled", True) is not False

    def options(self, plugin: str, type_: type[T]) -> T:
        """The typed options of a plugin.

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
}


def load(place: Path | None = None) -> Config:
    """Read the configuration.

    :param place: a file, to read it alone, or a folder with a `vdsm.toml` and a `conf.d`; without it, the
        default ones, where present
    :raises ConfigError: a file cannot be read, or a key or value is not acceptable
    """
    return merge([(str(path), read(path)) for path in files(place)])


def files(place: Path | None = None) -> list[Path]:
    """The files that `load` reads, each overriding those before it."""
    drop_ins = drop_in_folder(place)
    if place is not None:
        return [place] if drop_ins is None else [place / "vdsm.toml", *sorted(drop_ins.glob("*.toml"))]
    main = default_file()
    return [*([main] if main.exists() else []), *sorted((main.parent / "conf.d").glob("*.toml"))]


def drop_in_folder(place: Path | None = None) -> Path | None:
    """Where `load` looks for drop-ins, whether or not it is there; None if it reads a single file."""
    if place is None:
        return default_file().parent / "conf.d"
    return place / "conf.d" if place.is_dir() else None


def merge(documents: list[tuple[str, dict[str, Any]]]) -> Config:
    """A `Config` of parsed documents, each with the name that errors shall give it.

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
    """See that no plugin is both required and switched off.

    :raises ConfigError: one is
    """
    for name in config.daemon.required:
        if not config.enabled(name):
            key = f"plugin.{name}.enabled"
            where = config.origin["daemon.required"]
            reason = f"it is switched off, but 'required' in [daemon] ({where}) names it"
            raise ConfigError(file=config.origin[key], key=key, reason=reason)


def read(path: Path) -> dict[str, Any]:
    """One file, parsed.

    :raises ConfigError: it cannot be read, or is no TOML
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
    import difflib  # noqa: PLC0415 - for mistakes only

    alike = difflib.get_close_matches(key, known, 1)
    return f"; did you mean '{alike[0]}'?" if alike else ""


def _origin_of(key: str, origin: dict[str, str]) -> str:
    parts = key.replace("[", ".[").split(".")
    while parts:
        if (name := origin.get(".".join(parts))) is not None:
            return name
        parts.pop()
    return "(defaults)"
