"""`Host` as far as it belongs to no feature area."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, Verb, action, query
from vdsm_bridge.api.schema import type_schema
from vdsm_bridge.base.task import TaskDetails, TaskInfo, TaskStatus, details_of, info_of, status_of
from vdsm_bridge.plugins.feature import PluginInfo, Runtime
from vdsm_core.types import UUID, Record
from vdsm_core.work.locks import WaitingCall

LoggingLevel = Literal["DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL", "CRIT"]
_LEVELS = {"WARN": "WARNING", "CRIT": "CRITICAL"}


class ParamInfo(Record, frozen=True):
    """One parameter of a verb. `type` is a JSON Schema."""

    name: str
    type: dict[str, Any]
    required: bool
    doc: str


class VerbInfo(Record, frozen=True):
    """One verb, as the API describes itself. `result` is a JSON Schema."""

    name: str
    kind: Literal["query", "action", "task"]
    access: str
    since: str
    plugin: str
    summary: str
    description: str
    key: str
    part: str
    listed_by: str
    params: list[ParamInfo]
    result: dict[str, Any]
    result_doc: str
    errors: list[str]


class BaseHost(Namespace, name="Host", plural="host"):
    """This host: what it is, what it can do, how it is."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @query(since="1.0")
    def ping(self) -> None:
        """Answer, to show that the daemon lives. Also counts as a confirmation of connectivity."""

    @query(since="1.0")
    def ping2(self) -> None:
        """Answer, to show that the daemon lives, with no side effect at all."""

    @query(since="1.0")
    def echo(self, message: Annotated[str, Meta(max_length=65_536)]) -> str:
        """Return the text that was sent.

        :param message: any text
        """
        return message

    @action(access="admin", since="1.0")
    def set_log_level(self, level: LoggingLevel, name: str = "") -> None:
        """Change how much the daemon logs, until it is restarted.

        :param level: the least important level to log
        :param name: a logger and those below it; empty means all
        """
        logging.getLogger(name or None).setLevel(_LEVELS.get(level, level))

    @query(since="1.0")
    def get_plugins(self) -> list[PluginInfo]:
        """Every installed plugin with its state, and the reason where it does not run or is not well."""
        return self._runtime.plugins()

    @query(since="1.0")
    def get_verbs(self) -> list[VerbInfo]:
        """Every verb of this host with its parameters and its result: the API describes itself."""
        return [verb_info(verb) for verb in self._runtime.registry.verbs.values()]

    @query(since="1.0")
    def get_queues(self) -> list[WaitingCall]:
        """The actions that run or wait now, object by object, each with its place in the queue.

        :returns: place 0 runs, place 1 is next
        """
        return self._runtime.work.locks.snapshot()

    @query(since="1.0")
    def get_all_tasks(self) -> dict[UUID, TaskDetails]:
        """Every task that is remembered, by id."""
        return {record.id: details_of(record) for record in self._runtime.work.tasks.all()}

    @query(since="1.0")
    def get_all_tasks_info(self) -> dict[UUID, TaskInfo]:
        """Id and verb of every task, by id."""
        return {record.id: info_of(record) for record in self._runtime.work.tasks.all()}

    @query(since="1.0")
    def get_all_tasks_statuses(self) -> dict[UUID, TaskStatus]:
        """State and progress of every task, by id."""
        return {record.id: status_of(record) for record in self._runtime.work.tasks.all()}


def verb_info(verb: Verb) -> VerbInfo:
    """A verb as the API describes it."""
    return VerbInfo(
        name=verb.name,
        kind=verb.kind.value,
        access=verb.access,
        since=verb.declaration.since,
        plugin=verb.plugin,
        summary=verb.summary,
        description=verb.description,
        key=verb.namespace.key if verb.on_object else "",
        part=verb.declaration.part,
        listed_by=verb.namespace.listed_by,
        params=[
            ParamInfo(name=p.name, type=type_schema(p.type), required=p.required, doc=p.doc)
            for p in verb.params
        ],
        result=type_schema(verb.reply),
        result_doc=verb.result_doc,
        errors=[error.slug for error in verb.errors],
    )
