"""The inventory: hosts with their load, machines with their hosts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdsm_qmf.console import Cluster

#: Of a machine's definition, what makes another host start the same machine.
SETTINGS = (
    "vmId",
    "vmName",
    "memSize",
    "maxMemSize",
    "maxMemSlots",
    "memGuaranteedSize",
    "smp",
    "maxVCpus",
    "smpCoresPerSocket",
    "smpThreadsPerCore",
    "cpuType",
    "emulatedMachine",
    "kvmEnable",
    "acpiEnable",
    "timeOffset",
    "boot",
    "kernel",
    "initrd",
    "kernelArgs",
    "devices",
    "custom",
)
#: The state of a machine on a lost host.
UNKNOWN = "unknown"
#: Of these the guest does not run, so nothing of it is lost with its host.
ENDED = frozenset({"Down", "Migration Destination"})


@dataclass(frozen=True)
class HostLoad:
    """A host that answered. Memory is in MiB; `committed` is what its machines may use."""

    id: str
    name: str
    memory: int
    committed: int
    machines: int

    @property
    def free(self) -> int:
        """The memory that further machines may use."""
        return self.memory - self.committed

    @property
    def load(self) -> float:
        """0 is an empty host, 1 a full one."""
        return self.committed / self.memory


@dataclass(frozen=True)
class Machine:
    """A machine, as last reported by its host."""

    host: str
    status: str
    definition: Mapping[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        """Its id, the same on every host."""
        return str(self.definition["vmId"])

    @property
    def name(self) -> str:
        """The name for people."""
        return str(self.definition["vmName"])

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters of `VM.create` on another host."""
        return {name: self.definition[name] for name in SETTINGS if name in self.definition}


@dataclass(frozen=True)
class Inventory:
    """A look at the cluster. `silent` are hosts that are known and do not answer, each with the reason."""

    hosts: tuple[HostLoad, ...]
    machines: tuple[Machine, ...]
    silent: Mapping[str, str]

    def find(self, machine: str) -> list[Machine]:
        """The machines of an id or a name; several, if it is not unique."""
        return [one for one in self.machines if machine in (one.id, one.name)]

    @property
    def doubled(self) -> set[str]:
        """Return the ids of machines that run on several hosts."""
        count = Counter(one.id for one in self.machines if one.status not in ENDED)
        return {machine for machine, times in count.items() if times > 1}


class Memory:
    """The last reported machines of each host, kept for the time when it is unreachable.

    :param file: keeps them over restarts of the engine; without it, they are kept in memory only
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._hosts: dict[str, list[dict[str, Any]]] = {}
        if file is not None and file.exists():
            self._hosts = json.loads(file.read_text("utf-8"))

    def learn(self, host: str, definitions: list[dict[str, Any]]) -> None:
        """The machines of a host as they are now."""
        self._hosts[host] = definitions
        if self._file is not None:
            fresh = self._file.with_name(f".{self._file.name}.new")
            fresh.write_text(json.dumps(self._hosts), "utf-8")
            fresh.replace(self._file)

    def machines(self, host: str) -> list[Machine]:
        """The machines of a host as they last were."""
        return [Machine(host, str(one["status"]), one) for one in self._hosts.get(host, ())]

    def hosts(self) -> set[str]:
        """Return every host that ever reported."""
        return set(self._hosts)


def look(cluster: Cluster, memory: Memory, timeout: float) -> Inventory:
    """Query every reachable host for its load and its machines; use the last report of the others."""
    living = cluster.living()
    names = {host.id: host.name for host in cluster.hosts()}
    answers: dict[str, dict[str, Any]] = {host: {} for host in living}
    silent = dict.fromkeys((memory.hosts() | names.keys()) - set(living), "it is lost")
    verbs = ("Host.getCapabilities", "Host.getStats", "Host.getVMFullList")
    # All are sent before the first answer is looked at.
    requested = {verb: cluster.call_many(living, verb, timeout=timeout) for verb in verbs}
    for verb, results in requested.items():
        for result in results:
            if result.error is None:
                answers[result.host][verb] = result.value
            else:
                silent[result.host] = str(result.error)
    machines = [one for host in sorted(silent) for one in _lost(memory, host)]
    loads = []
    for host in sorted(answers.keys() - silent.keys()):
        capabilities, statistics, definitions = (answers[host][verb] for verb in verbs)
        memory.learn(host, definitions)
        machines += memory.machines(host)
        loads.append(
            HostLoad(
                id=host,
                name=names.get(host, ""),
                memory=int(capabilities["memSize"]) - int(capabilities["reservedMem"]),
                committed=int(statistics["memCommitted"]),
                machines=len(definitions),
            )
        )
    return Inventory(tuple(loads), tuple(machines), silent)


def _lost(memory: Memory, host: str) -> list[Machine]:
    return [
        Machine(host, one.status if one.status in ENDED else UNKNOWN, one.definition)
        for one in memory.machines(host)
    ]
