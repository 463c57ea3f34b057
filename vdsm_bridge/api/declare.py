"""Declaring verbs: a namespace is a class, a verb is a decorated, typed method of it.

::

    class Light(Namespace, key="lightID", plural="lights"):
        \"\"\"A lamp in the machine room.\"\"\"

        @action(access="operator", since="1.0")
        def dim(self, light_id: UUID, percent: Annotated[int, Meta(ge=0, le=100)] = 50) -> None:
            \"\"\"Set the brightness.

            :param percent: of full brightness
            :raises NoSuchLight: no lamp has this id
            \"\"\"

From this one declaration follow the check of the arguments, the wire names of every binding, the schema and
the documentation. Wire names are derived (`light_id` -> `lightID`, `dim`); an irregular one is given with
``name=`` or ``names=``. A parameter annotated `Context` receives the context of the call, one annotated
`Progress` the handle of the task; neither is part of the API.

Objects that lie in others have a parent, and a large namespace is written as several classes::

    class Bulb(Namespace, key="bulbID", parent=Light):
        \"\"\"Verbs on a bulb have the parameters `lightID` and `bulbID`, wherever they stand.\"\"\"

    class Maintenance(Namespace, group_of=Light):
        \"\"\"Further verbs of `Light`.\"\"\"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

from vdsm_bridge.api.legacy import Legacy, listed
from vdsm_bridge.api.namespace import Namespace
from vdsm_bridge.api.verb import Declaration, Kind, LocksOf, Part, RefusalOf, ScopeRule
from vdsm_bridge.call.context import Role
from vdsm_core.deprecated import warn_of_argument
from vdsm_core.work.references import Lock

__all__ = ["Namespace", "action", "declaration_of", "no_locks", "query", "task"]

P = ParamSpec("P")
R = TypeVar("R")

_ATTRIBUTE: Final = "__vdsm_verb__"


def no_locks(_arguments: Mapping[str, Any]) -> Iterable[Lock]:
    """Lock nothing: for actions that run beside any other one."""
    return ()


def query(
    *,
    access: Role = "monitor",
    since: str,
    name: str = "",
    names: Mapping[str, str] | None = None,
    part: Part = "",
    lists: str = "",
    scope: ScopeRule = "",
    legacy: Legacy = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a verb that changes nothing.

    :param name: its wire name, if that is not the name of the function in camel case
    :param names: irregular wire names of parameters, by their names in Python
    :param part: what it does to the collection or item that its namespace stands for
    :param lists: name of the namespace whose objects it lists, as texts, structs with the key, or by id;
        `part` "list" means its own. Callers that are restricted to some objects see those
    :param scope: "open": callers that are restricted to some objects may call it, since it is about no
        object, or restricts them itself. "closed": they may not, though it is about an object. "creates":
        those may that are restricted to objects of their own: it creates one. By default that is derived
    :param legacy: its old names, and its form on VDSM's bridge
    """
    return _mark(
        Declaration(
            kind=Kind.QUERY,
            access=access,
            since=since,
            name=name,
            names=names or {},
            part=part,
            lists=lists,
            scope=scope,
            legacy=listed(legacy),
        )
    )


def action(
    *,
    access: Role = "operator",
    since: str,
    name: str = "",
    names: Mapping[str, str] | None = None,
    part: Part = "",
    legacy: Legacy = (),
    locks: LocksOf | None = None,
    preempts: bool = False,
    done: str = "",
    scope: ScopeRule = "",
    lane: bool | None = None,
    overtakes: bool | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a verb that changes something. What `query` takes, it takes as well.

    :param locks: what a call locks; by default the object whose ids are among its required parameters: calls
        on one object wait for each other. `no_locks` locks nothing
    :param preempts: goes ahead of waiting calls, asks long work on its objects to end, and does not wait for
        the call that runs
    :param done: sentence of the status on success, if it is not "Done"
    :param scope: as for `query`
    :param lane: deprecated; `lane=False` is `locks=no_locks`
    :param overtakes: deprecated; it is `preempts`
    """
    if lane is not None:
        warn_of_argument("action", "lane")
        locks = locks if lane else no_locks
    if overtakes is not None:
        warn_of_argument("action", "overtakes")
        preempts = overtakes
    return _mark(
        Declaration(
            kind=Kind.ACTION,
            access=access,
            since=since,
            name=name,
            names=names or {},
            part=part,
            legacy=listed(legacy),
            locks=locks,
            preempts=preempts,
            done=done,
            scope=scope,
        )
    )


def task(
    *,
    access: Role = "operator",
    since: str,
    name: str = "",
    names: Mapping[str, str] | None = None,
    part: Part = "",
    legacy: Legacy = (),
    locks: LocksOf | None = None,
    resumable: bool = False,
    revert: str = "",
    long: bool = False,
    beside: Iterable[str] = (),
    refuses: RefusalOf | None = None,
    scope: ScopeRule = "",
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a verb that starts long work; the function runs in the background.

    What `query` takes, it takes as well.

    :param locks: as for `action`; they are held until the work is over
    :param resumable: after a crash it may simply be started again with the same arguments
    :param revert: name of the method that rolls back what a finished run did; it takes the same arguments
    :param long: it may take hours; it runs on threads apart from those for work of seconds
    :param beside: full names of verbs that do not wait for its locks, such as one that cancels it
    :param refuses: returns the error of verbs that are called meanwhile and are not `beside`; by default they
        wait
    :param scope: as for `query`
    """
    return _mark(
        Declaration(
            kind=Kind.TASK,
            access=access,
            since=since,
            name=name,
            names=names or {},
            part=part,
            legacy=listed(legacy),
            locks=locks,
            resumable=resumable,
            revert=revert,
            long=long,
            beside=frozenset(beside),
            refuses=refuses,
            scope=scope,
        )
    )


def _mark(declaration: Declaration) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        setattr(function, _ATTRIBUTE, declaration)
        return function

    return decorate


def declaration_of(function: object) -> Declaration | None:
    """Return what a decorator states about a function; None if it declares no verb."""
    declaration: Declaration | None = getattr(function, _ATTRIBUTE, None)
    return declaration
