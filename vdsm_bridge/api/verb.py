"""Verbs and their parameters, as bindings, schemas and the reference read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from vdsm_bridge.api.legacy import LegacyForm, LegacyMethod
from vdsm_bridge.api.namespace import Level, Namespace
from vdsm_bridge.call.context import ROLES, Role
from vdsm_core import types
from vdsm_core.errors import VdsmError
from vdsm_core.work.references import Lock

#: What a verb does to the collection or item that its namespace stands for.
Part = Literal["list", "get", "create", "delete", ""]
#: How a verb treats callers that are restricted to some objects: as derived from its parameters, or as
#: declared: "open" to them, or "closed".
ScopeRule = Literal["", "open", "closed", "creates"]


class Kind(StrEnum):
    """What calling a verb means."""

    QUERY = "query"  # safe and repeatable
    ACTION = "action"  # changes something; on one object, one after the other
    TASK = "task"  # starts long work and returns its id at once


#: Returns the locks of a call from its arguments, by their names in Python.
LocksOf = Callable[[Mapping[str, Any]], Iterable[Lock]]
#: Returns the error of a verb that is called while long work runs, or None to let it wait. Takes the
#: arguments of the long work, and the full name of that verb.
RefusalOf = Callable[[Mapping[str, Any], str], VdsmError | None]


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a decorator states about a verb."""

    kind: Kind
    access: Role
    since: str
    name: str = ""
    names: Mapping[str, str] = {}
    part: Part = ""
    legacy: tuple[LegacyMethod | LegacyForm, ...] = ()
    #: What it locks, where that is not simply the object that it is called on; see `LocksOf`.
    locks: LocksOf | None = None
    preempts: bool = False
    done: str = ""
    resumable: bool = False
    revert: str = ""
    long: bool = False
    beside: frozenset[str] = frozenset()
    refuses: RefusalOf | None = None
    #: Name of the namespace whose objects the result lists, where that is not this one.
    lists: str = ""
    scope: ScopeRule = ""


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """One argument. `default` is meaningful only if it is not required."""

    name: str
    python_name: str
    type: Any
    required: bool
    default: Any = None
    doc: str = ""


class TaskRef(types.Record, frozen=True):
    """The reply of a task verb: the id of the task, for `Task.getStatus`."""

    task_id: types.UUID = msgspec.field(name="taskID")


class Verb(msgspec.Struct, frozen=True, kw_only=True):
    """One verb of the API, complete: everything a binding, the schema and the reference page need."""

    name: str
    namespace: type[Namespace]
    method: str
    declaration: Declaration
    summary: str
    description: str
    params: tuple[Param, ...]
    result: Any
    result_doc: str
    errors: tuple[type[VdsmError], ...]
    #: The arguments as one type; converting to it is the check at the door.
    arguments: type[msgspec.Struct]
    function: Callable[..., Any]
    #: Old names, with all defaults filled in.
    legacy_methods: tuple[LegacyMethod, ...] = ()
    #: How VDSM's bridge called it by its full name, with all defaults filled in.
    legacy_form: LegacyForm = LegacyForm()
    #: Where it stands in the tree of objects, from the outermost namespace to its own.
    levels: tuple[Level, ...] = ()
    #: The parameters that name its place in that tree, parents first: the ids of the object that it is called
    #: on; of a verb on a collection, those of the parents.
    keys: tuple[str, ...] = ()
    #: Names, in Python, of the parameters that hold the ids of one object, parents first.
    id_params: tuple[str, ...] = ()
    #: Names, in Python, of the injected parameters.
    context_param: str = ""
    progress_param: str = ""
    #: The class that declares it: the namespace, or one of its groups.
    group: type[Namespace] = Namespace
    plugin: str = ""

    @property
    def kind(self) -> Kind:
        """What calling it means."""
        return self.declaration.kind

    @property
    def access(self) -> Role:
        """The least role that may call it."""
        return self.declaration.access

    @property
    def on_object(self) -> bool:
        """Whether it is called on one object, whose ids are among its required parameters."""
        return bool(self.keys) and len(self.keys) == len(self.levels)

    @property
    def lists(self) -> str:
        """The name of the namespace whose objects the result lists; empty if it lists none."""
        own = self.namespace.name if self.namespace.key and self.declaration.part == "list" else ""
        return self.declaration.lists or own

    def locks(self, values: Mapping[str, Any]) -> tuple[Lock, ...]:
        """Return what a call holds while it runs.

        :param values: its arguments, by their names in Python
        """
        declaration = self.declaration
        if declaration.locks is not None:
            return tuple(declaration.locks(values))
        if not self.id_params or declaration.kind is Kind.QUERY:
            return ()
        return (Lock(self.namespace.reference(*[str(values[name]).lower() for name in self.id_params])),)

    @property
    def reply(self) -> Any:
        """The type that a caller receives: the result, or for a task its reference."""
        return TaskRef if self.kind is Kind.TASK else self.result


def placed(verb: Verb, levels: tuple[Level, ...]) -> Verb:
    """Return a verb with its place in the tree of objects, as its required parameters determine it.

    :param levels: from the outermost namespace to the verb's own
    """
    required = {param.name: param.python_name for param in verb.params if param.required}
    wanted = [level.key for level in levels if level.key]
    ids = tuple(required[key] for key in wanted) if all(key in required for key in wanted) else ()
    on_collection = verb.declaration.part in ("create", "list") or levels[-1].key not in required
    place = wanted[:-1] if on_collection else wanted
    keys = tuple(place) if all(key in required for key in place) else ()
    return msgspec.structs.replace(verb, levels=levels, keys=keys, id_params=ids)


def access_level(role: Role) -> int:
    """Return a role as a number, to compare."""
    return ROLES.index(role)
