"""Verbs of `Host` that belong to no feature area."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.legacy import LegacyForm, LegacyMethod
from vdsm_bridge.api.schema import type_schema
from vdsm_bridge.api.verb import Verb
from vdsm_bridge.base.job import HostJobInfo, JobType, job_infos
from vdsm_bridge.base.task import TaskDetails, TaskInfo, TaskStatus, details_of, info_of, status_of
from vdsm_bridge.call.context import Context
from vdsm_bridge.plugins.feature import PluginInfo, Runtime
from vdsm_core.types import UUID, Record
from vdsm_core.work.locks import WaitingCall

LoggingLevel = Literal["DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL", "CRIT"]
_NO_IDS: Final[list[str]] = []
#: Python's number of a level: 10 is DEBUG, 50 is CRITICAL. VDSM's clients send numbers, too.
LoggingNumber = Annotated[int, Meta(ge=1, le=50)]
_LEVELS = {"WARN": "WARNING", "CRIT": "CRITICAL"}


class ParamInfo(Record, frozen=True):
    """One parameter of a verb. `type` is a JSON Schema."""

    name: str
    type: dict[str, Any]
    required: bool
    doc: str


class VerbInfo(Record, frozen=True):
    """One verb, as the API describes itself. `result` is a JSON Schema.

    `keys` are the parameters with the ids of the object that it is called on, parents first; of a verb on a
    collection, those of the parents. `key` is the last of the former. `legacy` are its old names.
    """

    name: str
    kind: Literal["query", "action", "task"]
    access: str
    since: str
    plugin: str
    summary: str
    description: str
    key: str
    keys: list[str]
    part: str
    listed_by: str
    legacy: list[str]
    params: list[ParamInfo]
    result: dict[str, Any]
    result_doc: str
    errors: list[str]


class ObjectLimit(Record, frozen=True):
    """The objects of one namespace that a caller is limited to: by id, by a tag that they carry, or with
    `own` those that it has created."""

    namespace: str
    ids: list[str]
    tags: list[str]
    own: bool = False


class WhoAmI(Record, frozen=True):
    """The caller as the host knows it.

    `how` is the kind of credentials: "peer" (unix socket), "token", "bus", "certificate", "loopback" or
    "internal". `expires` is the Unix time in seconds from which they are invalid, 0 for never. Empty `verbs`
    and `objects` restrict nothing.
    """

    name: str
    role: Literal["monitor", "operator", "admin"]
    how: str
    binding: str
    address: str
    expires: float
    verbs: list[str]
    objects: list[ObjectLimit]


class BaseHost(Namespace, name="Host", plural="host"):
    """This host: its description, capabilities and state."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        #: Descriptions that were made, by verb: the schemas of all take a tenth of a second.
        self._described: dict[str, tuple[Verb, VerbInfo]] = {}

    @query(since="1.0", scope="open", legacy=LegacyMethod("ping"))
    def ping(self) -> None:
        """Answer, to show that the daemon is running. Also counts as a confirmation of connectivity."""

    @query(since="1.0", scope="open")
    def ping2(self) -> None:
        """Answer, to show that the daemon is running, without any side effect."""

    @query(since="1.0", scope="open", legacy=LegacyForm(member="logged"))
    def echo(self, message: Annotated[str, Meta(max_length=65_536)]) -> str:
        """Return the text that was sent.

        :param message: any text
        """
        return message

    @query(since="1.0", scope="open")
    def who_am_i(self, context: Context) -> WhoAmI:
        """Return the identity of the caller on this host: name, role, credentials, and its limits.

        Not a verb of VDSM. Every caller with a role may call it, whichever verbs it is limited to.
        """
        identity, scope = context.identity, context.identity.scope
        return WhoAmI(
            name=identity.name,
            role=identity.role,
            how=identity.how,
            binding=context.binding,
            address=context.address or context.origin,
            expires=identity.expires,
            verbs=list(scope.verbs),
            objects=[
                ObjectLimit(namespace=each.of, ids=list(each.ids), tags=list(each.tags), own=each.own)
                for each in scope.objects
            ],
        )

    @action(access="admin", since="1.0", legacy=LegacyMethod("setLogLevel", args=("level",)))
    def set_log_level(self, level: LoggingLevel | LoggingNumber, name: str = "") -> None:
        """Set the log level, until the daemon is restarted.

        :param level: the lowest level that is logged, or its number
        :param name: a logger, with those below it; empty means all
        """
        logging.getLogger(name or None).setLevel(
            _LEVELS.get(level, level) if isinstance(level, str) else level
        )

    @query(since="1.0")
    def get_plugins(self) -> list[PluginInfo]:
        """Return every installed plugin with its state, and the reason if it does not run or is unhealthy."""
        return self._runtime.plugins()

    @query(since="1.0", scope="open")
    def get_verbs(self) -> list[VerbInfo]:
        """Return every verb of this host with its parameters and its result."""
        known, found = self._described, {}
        for name, verb in self._runtime.registry.verbs.items():
            before = known.get(name)
            found[name] = before if before is not None and before[0] is verb else (verb, verb_info(verb))
        self._described = found
        return [info for _, info in found.values()]

    @query(since="1.0")
    def get_queues(self) -> list[WaitingCall]:
        """Return the actions that run or wait now, by object, each with its position in the queue.

        :returns: calls; `place` 0 runs, `place` 1 is next
        """
        return self._runtime.work.locks.snapshot()

    @query(
        since="1.0",
        lists="Task",
        legacy=LegacyMethod("getAllTasks", args=(LegacyMethod.IGNORED,), reply="tasks", message="OK"),
    )
    def get_all_tasks(self) -> dict[UUID, TaskDetails]:
        """Return every known task in full, by id."""
        return {record.id: details_of(record) for record in self._runtime.work.tasks.listed()}

    @query(
        since="1.0",
        lists="Task",
        legacy=LegacyMethod("getAllTasksInfo", reply="allTasksInfo", message="OK"),
    )
    def get_all_tasks_info(self) -> dict[UUID, TaskInfo]:
        """Return id and verb of every task, by id."""
        return {record.id: info_of(record) for record in self._runtime.work.tasks.listed()}

    @query(
        since="1.0",
        lists="Task",
        legacy=LegacyMethod("getAllTasksStatuses", reply="allTasksStatus", message="OK"),
    )
    def get_all_tasks_statuses(self) -> dict[UUID, TaskStatus]:
        """Return state and progress of every task, by id."""
        return {record.id: status_of(record) for record in self._runtime.work.tasks.listed()}

    @query(
        since="1.0",
        names={"job_type": "job_type", "job_ids": "job_ids"},
        legacy=LegacyMethod("getHostJobs", args=("job_type", "job_ids"), reply="jobs"),
    )
    def get_jobs(
        self,
        job_type: JobType | None = None,
        job_ids: Annotated[list[UUID], Meta(max_length=10_000)] = _NO_IDS,
    ) -> dict[UUID, HostJobInfo]:
        """Return the host jobs by id: long work under ids that clients have chosen, in progress or ended.

        A job is shown for an hour after its end.

        :param job_type: only jobs of this type
        :param job_ids: only jobs of these ids
        """
        return job_infos(self._runtime.work.tasks.all(), job_type or "", job_ids)


def verb_info(verb: Verb) -> VerbInfo:
    """Return the description of a verb."""
    return VerbInfo(
        name=verb.name,
        kind=verb.kind.value,
        access=verb.access,
        since=verb.declaration.since,
        plugin=verb.plugin,
        summary=verb.summary,
        description=verb.description,
        key=verb.namespace.key if verb.on_object else "",
        keys=list(verb.keys),
        part=verb.declaration.part,
        listed_by=verb.namespace.listed_by,
        legacy=[method.name for method in verb.legacy_methods],
        params=[
            ParamInfo(name=p.name, type=type_schema(p.type), required=p.required, doc=p.doc)
            for p in verb.params
        ],
        result=type_schema(verb.reply),
        result_doc=verb.result_doc,
        errors=[error.slug for error in verb.errors],
    )
