"""The judgement of restricted callers: which verbs and objects the scope of an identity includes.

What cannot be judged is refused. A caller that is restricted to objects may call

- a verb that requires the ids of an object, for an object within its scope; every other object of this kind
  or of the kinds that it lies in, which a member of the arguments names, must be within it, too,
- a verb on a collection that requires the ids of a parent, for a parent within its scope; not one that
  creates, since what a new object is made of cannot be judged,
- a query that lists objects (`lists`), and then gets those within its scope,
- a verb that is declared `scope="open"`: it is about no object, or restricts its callers itself,
- a verb that is declared `scope="creates"`, if the caller is restricted to objects of its own of that kind.

An object is within a scope by its id, by a tag, by its creator, or as part of another one: of its parents in
the tree of objects, or as `Namespace.marks_of` reports. Of an object that lies in others, an id is its
`object_path`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from vdsm_bridge.api.marks import Marks, object_path
from vdsm_bridge.api.namespace import Level, Namespace
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.api.verb import Verb
from vdsm_bridge.call.context import Identity
from vdsm_bridge.call.scope import Scope
from vdsm_core.errors import OutOfScope, VdsmError
from vdsm_core.events import Event, EventBus, Subscription, event_types
from vdsm_core.incident import report_incident

log = logging.getLogger(__name__)

#: Objects that an object may be part of, one within the other.
_DEPTH: Final = 8
#: The verb that stands for streams of events of a binding's own kind.
SUBSCRIBE: Final = "Events.subscribe"
#: The verb that reports a caller's own scope: without it a caller cannot find out what is wrong.
_WHO_AM_I: Final = "Host.whoAmI"


class _Kind(msgspec.Struct):
    """The objects of one namespace: where they stand in the tree, and what reports their tags."""

    levels: tuple[Level, ...]
    owners: list[Namespace] = []

    def parent_of(self, object_id: str) -> tuple[str, str] | None:
        """Return namespace and id of the object that one lies in; None at the top."""
        if len(self.levels) < 2:
            return None
        ids = [unquote(part) for part in object_id.split("/")][:-1]
        return self.levels[-2].name, object_path(*ids)

    def names(self, object_id: str) -> bool:
        """Return whether a text has as many ids as an object of this kind."""
        return len(self.levels) < 2 or object_id.count("/") == len(self.levels) - 1


class Scopes:
    """Judges calls, results and events of identities with a scope.

    :param registry: names the namespaces, which report the tags of their objects
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._read: tuple[Mapping[str, Verb], dict[str, _Kind]] = ({}, {})

    def check_verb(self, verb: Verb, identity: Identity) -> None:
        """Check that the scope of a caller includes a verb, for whichever object.

        :raises OutOfScope: it does not, or cannot be judged
        """
        scope = identity.scope
        if not scope.limited:
            return
        self._check_name(verb.name, identity)
        if verb.declaration.scope == "creates" and _has_own(scope, verb.namespace.name):
            return
        if scope.objects and not _is_judgeable(verb):
            reason = "the caller is limited to some objects, and the objects of this verb cannot be derived"
            raise OutOfScope(verb=verb.name, identity=identity.name, reason=reason)

    def check_objects(self, verb: Verb, values: Mapping[str, Any], identity: Identity) -> None:
        """Check that the objects that a call names are within the scope of its caller.

        Objects that do not exist are refused like those that exist: the answer reports nothing of them.

        :param values: the arguments, by their names in Python
        :raises OutOfScope: one is not
        """
        if not identity.scope.objects or verb.declaration.scope:
            return
        for name, object_id in _objects(verb, values):
            if not self.includes(identity, name, object_id):
                reason = f"{name} {object_id} is not within the scope of the caller"
                raise OutOfScope(verb=verb.name, identity=identity.name, reason=reason)

    def visible(self, verb: Verb, values: Mapping[str, Any], result: Any, identity: Identity) -> Any:
        """Return what a caller may see of the result of a query: of a list, the objects within its scope.

        :param values: the arguments of the query, which may name the parent of the objects
        """
        scope, name = identity.scope, verb.lists
        if not scope.objects or not name or verb.declaration.scope:
            return result
        kind = self._kinds().get(name)
        levels = (Level(name, "", ""),) if kind is None else kind.levels
        given = {param.name.lower(): values[param.python_name] for param in verb.params}

        def shown(item: Any) -> bool:
            path = _path_of(item, levels, given)
            return bool(path) and self.includes(identity, name, path)

        if isinstance(result, Mapping):
            return {key: value for key, value in result.items() if shown(str(key))}
        return [item for item in result if shown(item)]

    def includes(self, identity: Identity, namespace: str, object_id: str) -> bool:
        """Return whether an object is within the scope of a caller.

        :param namespace: name of its namespace, `VM`
        """
        return bool(self.judge(identity, namespace, object_id))

    def event_filter(self, identity: Identity) -> Callable[[Event], bool] | None:
        """Return a function that reports whether a caller may see an event; None: it may see every event.

        :raises OutOfScope: the scope of the caller does not include events at all
        """
        if not identity.scope.limited:
            return None
        self._check_name(SUBSCRIBE, identity)
        return _EventFilter(self, identity) if identity.scope.objects else None

    def snapshot(
        self, events: EventBus, pattern: str | Sequence[str], identity: Identity, after: int | None = None
    ) -> tuple[list[Event], Subscription]:
        """Return the current states that a caller may see, and the subscription to what changes them.

        :param after: begin after the event of this number; by default where the states are true
        :raises OutOfScope: the caller may not see events
        """
        allowed = self.event_filter(identity)
        known, states = events.snapshot(pattern)
        if after is None:
            after = min(known.values(), default=None)
        subscription = events.subscribe(pattern, after, known, allowed=allowed)
        return states if allowed is None else list(filter(allowed, states)), subscription

    def namespace_of(self, kind: str) -> str:
        """Return the name of the namespace whose references have a kind (`Reference.kind`), or nothing."""
        for name, found in self._kinds().items():
            if any(each.key and each.reference.kind == kind for each in found.owners):
                return name
        return ""

    def judge(self, identity: Identity, namespace: str, object_id: str) -> bool | None:
        """Return whether an object is within the scope of a caller; None: it does not exist, or one that it
        is part of does not, and the scope names none of them by id.

        :param namespace: name of its namespace, `VM`
        """
        exists = True
        pending = [(namespace, object_id)]
        for _ in range(_DEPTH):
            if not pending:
                break
            name, one = pending.pop(0)
            kind = self._kinds().get(name)
            if kind is not None and not kind.names(one):
                continue
            limits = [limit for limit in identity.scope.objects if limit.of == name]
            if any(limit.names(one) for limit in limits):
                return True
            marks = self._marks_of(kind, one)
            exists = exists and bool(marks)
            tags = {tag for limit in limits for tag in limit.tags}
            if any(tags & each.tags for each in marks):
                return True
            own = any(limit.own for limit in limits)
            if own and any(each.creator == identity.key for each in marks):
                return True
            pending += [each.parent for each in marks if each.parent is not None]
            if kind is not None and (parent := kind.parent_of(one)) is not None:
                pending.append(parent)
        return False if exists else None

    @staticmethod
    def _marks_of(kind: _Kind | None, object_id: str) -> list[Marks]:
        found = []
        for each in kind.owners if kind is not None else ():
            try:
                marks = each.marks_of(object_id)
            except VdsmError:
                # What its feature cannot look up now is within no scope.
                continue
            except Exception:  # noqa: BLE001 - logged as an incident
                # Nor is what a bug hides: the caller sees less, its list and its stream go on.
                report_incident(log, f"{type(each).__qualname__}.marks_of")
                continue
            if marks is not None:
                found.append(marks)
        return found

    def _check_name(self, verb: str, identity: Identity) -> None:
        if verb != _WHO_AM_I and not identity.scope.permits(verb):
            reason = f"the caller is limited to the verbs {', '.join(identity.scope.verbs)}"
            raise OutOfScope(verb=verb, identity=identity.name, reason=reason)

    def _kinds(self) -> dict[str, _Kind]:
        """Return the kinds of objects of all running plugins, by the names of their namespaces."""
        verbs, found = self._read
        if verbs is not self._registry.verbs:
            verbs, found = self._registry.verbs, {}
            for verb in verbs.values():
                kind = found.setdefault(verb.namespace.name, _Kind(verb.levels))
                owner = getattr(verb.function, "__self__", None)
                if (
                    isinstance(owner, Namespace)
                    and _reports(owner)
                    and not any(owner is one for one in kind.owners)
                ):
                    kind.owners.append(owner)
            self._read = (verbs, found)
        return found


class _EventFilter:
    """The events that a scope includes. An event whose object cannot be judged is left out.

    The last events of an object are delivered when it is gone, and with it its tags: they are judged by its
    last state.
    """

    def __init__(self, scopes: Scopes, identity: Identity) -> None:
        self._scopes = scopes
        self._identity = identity
        self._kinds: dict[str, str] = {}
        self._included: set[str] = set()

    def __call__(self, event: Event) -> bool:
        if event.is_gap:
            return True
        _, component, operation, object_id = event.id.split("|", 3)
        namespace = self._namespace_of(f"{component}|{operation}")
        if not namespace:
            return False
        judged = self._scopes.judge(self._identity, namespace, object_id)
        subject = f"{namespace}|{object_id}"
        if judged is None:
            return subject in self._included
        (self._included.add if judged else self._included.discard)(subject)
        return judged

    def _namespace_of(self, event: str) -> str:
        if event not in self._kinds:
            about = {f"{kind.component}|{kind.operation}": kind.about for kind in event_types()}
            kind = about.get(event, "")
            self._kinds[event] = self._scopes.namespace_of(kind) if kind else ""
        return self._kinds[event]


def _has_own(scope: Scope, namespace: str) -> bool:
    return any(limit.own for limit in scope.objects if limit.of == namespace)


def _is_judgeable(verb: Verb) -> bool:
    if verb.declaration.scope:
        return verb.declaration.scope == "open"
    return verb.on_object or bool(verb.lists) or _is_below_a_parent(verb)


def _is_below_a_parent(verb: Verb) -> bool:
    """Return whether a verb on a collection is judged by the parent. One that creates is not: what a new
    object is made of cannot be judged."""
    return bool(verb.keys) and not verb.on_object and verb.declaration.part not in ("create", "list")


def _reports(owner: Namespace) -> bool:
    """Return whether an object reports tags: a group of verbs leaves that to the namespace."""
    return owner.whole is type(owner) or type(owner).marks_of is not Namespace.marks_of


def _objects(verb: Verb, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield namespace and id of every object that a call names: the one that it is called on, else the parent
    of the collection; then those in its other arguments, as far as they have the keys of the verb's levels.

    A list names none: its result has the objects within the scope only.
    """
    levels = [level for level in verb.levels if level.key]
    if verb.on_object:
        place = [str(values[name]) for name in verb.id_params]
    elif _is_below_a_parent(verb) and not verb.lists:
        by_key = {param.name: str(values[param.python_name]) for param in verb.params}
        place = [by_key[key] for key in verb.keys]
    else:
        return
    yield levels[len(place) - 1].name, object_path(*place)
    given = {level.key.lower(): one for level, one in zip(levels, place, strict=False)}
    named = {level.key for level in levels[: len(place)]}
    for param in verb.params:
        if param.name in named:
            continue
        value = values[param.python_name]
        own = {param.name.lower(): value}
        for depth in range(len(levels), 0, -1):
            key = levels[depth - 1].key.lower()
            found = own.get(key, "") if isinstance(value, str) else _id_of(value, frozenset({key}))
            if found:
                yield levels[depth - 1].name, _path_of(value, levels[:depth], {**given, **own})
                break


def _path_of(item: Any, levels: Sequence[Level], given: Mapping[str, Any]) -> str:
    """Return the `object_path` of an object that a text or a struct stands for; empty if an id is missing.

    :param item: the own id of the object, or a struct with its key; it may have those of the parents, too
    :param given: ids of parents that it need not have, by key in lower case
    """
    own = _id_of(item, frozenset({levels[-1].key.lower()}))
    ids = []
    for level in levels[:-1]:
        key = level.key.lower()
        found = "" if isinstance(item, str) else _id_of(item, frozenset({key}))
        ids.append(found or str(given.get(key, "")))
    return object_path(*ids, own) if own and all(ids) else ""


def _id_of(item: Any, keys: frozenset[str]) -> str:
    """Return the id of an object that a text or a struct stands for; empty if there is none."""
    if isinstance(item, str):
        return item
    known = getattr(item, "known", item)  # an open structure keeps what it knows there
    if not isinstance(known, msgspec.Struct):
        return ""
    for name in _members(type(known), keys):
        if isinstance(value := getattr(known, name), str):
            return value
    return ""


@functools.lru_cache(maxsize=1024)
def _members(struct: type[msgspec.Struct], keys: frozenset[str]) -> tuple[str, ...]:
    """Return the names, in Python, of the members of a struct whose wire name is one of the keys."""
    return tuple(field.name for field in msgspec.structs.fields(struct) if field.encode_name.lower() in keys)
