"""All deprecated names, with the release that removes each.

Use of a deprecated name is reported: to plugins by a `DeprecationWarning`, to administrators in the log and
by `vdsm-tool config check`, to clients in the description of the verb. The rules are in
docs/reference/plugin-api.md; a test enforces them, and fails in the release of the promised removal.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Final, NamedTuple


class Deprecation(NamedTuple):
    """The notice of a deprecated name: versions, and the replacement as a clause: "use VM.getStats"."""

    since: str
    removal: str
    instead: str

    @property
    def notice(self) -> str:
        """The notice as a sentence."""
        return f"Deprecated since {self.since}, gone with {self.removal}: {self.instead}."


#: Names that plugins import, `vdsm_bridge.Name`.
NAMES: Final[dict[str, Deprecation]] = {
    "vdsm_bridge.Places": Deprecation("0.1", "0.3", "it is called Slots"),
    "vdsm_bridge.Proof": Deprecation("0.1", "0.3", "it is called Credentials"),
    "vdsm_bridge.Waiting": Deprecation("0.1", "0.3", "it is called WaitSlots"),
    "vdsm_core.hookspecs.hookimpl": Deprecation("0.1", "0.3", "import it from vdsm_core.hooks"),
    "vdsm_qmf.definitions": Deprecation("0.1", "0.3", "it is called vdsm_qmf.topology"),
}
#: Arguments of functions of the plugin API, `name(argument)`.
ARGUMENTS: Final[dict[str, Deprecation]] = {
    "action(lane)": Deprecation("0.1", "0.3", "give locks=no_locks instead of lane=False"),
    "action(overtakes)": Deprecation("0.1", "0.3", "it is called preempts"),
    "EventBus.subscribe(floors)": Deprecation("0.1", "0.3", "it is called known_seq"),
    "Subscription.next(most)": Deprecation("0.1", "0.3", "it is called max_events"),
}
#: Calls of `Runtime.hypervisor`: earlier name -> present name.
HYPERVISOR_CALLS: Final[dict[str, str]] = {
    "domain": "domains.get",
    "start_domain": "domains.start",
    "destroy": "domains.destroy",
    "shutdown": "domains.shutdown",
    "reboot": "domains.reboot",
    "reset": "domains.reset",
    "suspend": "domains.suspend",
    "resume": "domains.resume",
    "define": "definitions.define",
    "undefine": "definitions.undefine",
    "domain_xml": "definitions.xml",
    "metadata": "definitions.metadata",
    "set_metadata": "definitions.set_metadata",
    "set_vcpus": "devices.set_vcpus",
    "set_memory": "devices.set_memory",
    "begin_migration": "migrations.begin",
    "set_migration_downtime": "migrations.set_downtime",
    "set_migration_bandwidth": "migrations.set_bandwidth",
    "job": "jobs.get",
    "abort_job": "jobs.abort",
    "sample": "stats.sample",
    "refresh": "stats.refresh",
    "capabilities_xml": "node.capabilities_xml",
    "domain_capabilities_xml": "node.domain_capabilities_xml",
    "node_info": "node.info",
    "libvirt_version": "node.libvirt_version",
    "hypervisor_version": "node.hypervisor_version",
    "listen": "events.listen",
    "calls": "overdue_calls",
}
#: Attributes of classes of the plugin API, of `Runtime` and of its parts.
ATTRIBUTES: Final[dict[str, Deprecation]] = {
    "Context.waiting": Deprecation("0.1", "0.3", "it is called wait_slots"),
    "EventStream.place": Deprecation("0.1", "0.3", "it is called position"),
    "Host.heard": Deprecation("0.1", "0.3", "it is called last_seen"),
    "Runtime.hypervisor.domains()": Deprecation("0.1", "0.3", "use Runtime.hypervisor.domains.list_all()"),
    **{
        f"Runtime.hypervisor.{before}": Deprecation("0.1", "0.3", f"use Runtime.hypervisor.{now}")
        for before, now in HYPERVISOR_CALLS.items()
    },
    "Runtime.lanes": Deprecation("0.1", "0.3", "use Runtime.work.locks and Runtime.work.go_on"),
    "Runtime.tasks": Deprecation("0.1", "0.3", "use Runtime.work.tasks"),
    "Subscription.place": Deprecation("0.1", "0.3", "it is called position"),
    "TestHost.server": Deprecation("0.1", "0.3", "it is called host"),
    "WaitSlots.place": Deprecation("0.1", "0.3", "it is called taken"),
}
#: Verbs by full name.
VERBS: Final[dict[str, Deprecation]] = {}
#: Options by dotted key, `plugin.rest.port`.
OPTIONS: Final[dict[str, Deprecation]] = {
    "plugin.rest.threads": Deprecation("0.1", "0.3", "it has no effect, remove it"),
    "plugin.xmlrpc.threads": Deprecation("0.1", "0.3", "it has no effect, remove it"),
}
#: Ways to start commands.
COMMANDS: Final[dict[str, Deprecation]] = {
    "vdsmd without --system": Deprecation(
        "0.1", "0.3", "a vdsmd that root starts uses the system's folders with --system only"
    ),
}
#: Forms of files that are still read.
FORMATS: Final[dict[str, Deprecation]] = {
    "role name sha256": Deprecation(
        "0.1", "0.3", "`vdsm-tool token create` and `revoke` write the file anew"
    ),
}


def warn_of_name(name: str) -> None:
    """Warn the module that imports a deprecated name, two frames above."""
    if name in NAMES:
        warnings.warn(f"{name}: {NAMES[name].notice}", DeprecationWarning, stacklevel=3)


def warn_of_attribute(name: str) -> None:
    """Warn the module that uses a deprecated attribute, two frames above."""
    warnings.warn(f"{name}: {ATTRIBUTES[name].notice}", DeprecationWarning, stacklevel=3)


def warn_of_argument(function: str, argument: str) -> None:
    """Warn the module that passes a deprecated argument, two frames above."""
    name = f"{function}({argument})"
    warnings.warn(f"{name}: {ARGUMENTS[name].notice}", DeprecationWarning, stacklevel=3)


def described(text: str, things: Mapping[str, Deprecation], name: str) -> str:
    """Return a description, with the notice if there is one."""
    return f"{text}\n\n{things[name].notice}".strip() if name in things else text


def options_in_use(origin: Mapping[str, str]) -> list[str]:
    """Return a line for each deprecated option that a file sets.

    :param origin: dotted key -> file
    """
    return [f"{origin[key]}: {key}: {OPTIONS[key].notice}" for key in sorted(OPTIONS.keys() & origin.keys())]
