"""Why a caller may call a verb, or may not: the rules of access in words, without a daemon."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import unquote

import msgspec

from vdsm_bridge.api.marks import object_path
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.api.verb import Verb, access_level
from vdsm_bridge.call.access import rules as mapping
from vdsm_bridge.call.access import tokens
from vdsm_bridge.call.access.rules import Grant, Known, Rules
from vdsm_bridge.call.access.scopes import Scopes
from vdsm_bridge.call.context import ROLES, Identity, Role
from vdsm_bridge.call.scope import Scope
from vdsm_core.errors import NotFound, OutOfScope

#: Any caller with the role in question.
ANYBODY: Final = "anybody"


class NoSuchCaller(NotFound):
    """No caller can be meant by this text. Facts: `who`, `reason`."""

    slug = "no-such-caller"
    template = "Cannot identify the caller '{who}': {reason}"


class Caller(msgspec.Struct, frozen=True):
    """A caller as the rules see it. `identity` is None for one who is not let in; `reasons` say why."""

    identity: Identity | None
    reasons: tuple[str, ...]


class Judgement(msgspec.Struct, frozen=True):
    """Whether a call may be made; None if only the running host can say."""

    allowed: bool | None
    reasons: tuple[str, ...]


def caller(rules: Rules, who: str, *, own_uid: int, role: Role | None = None) -> Caller:
    """Return what the rules make of a caller.

    :param who: a kind of `_FINDERS`, with the name of the caller where it has one: `user:NAME`
    :param own_uid: the user that the daemon runs as
    :param role: as if the caller had this role
    :raises NoSuchCaller: there is no such caller
    """
    kind, _, name = who.partition(":")
    found = _FINDERS.get(kind)
    if found is None:
        known = ", ".join(sorted(_FINDERS))
        raise NoSuchCaller(who=who, reason=f"expected one of {known}, with a name where it has one")
    made = found(rules, name, own_uid)
    if role is None:
        return made
    identity = made.identity or Identity(who, role, kind)
    assumed = f"as if it had the role '{role}'"
    return Caller(msgspec.structs.replace(identity, role=role), (*made.reasons, assumed))


def judge(verb: Verb, caller: Caller, object_id: str = "") -> Judgement:
    """Return whether a caller may call a verb.

    :param object_id: of the object that the call is about; empty: any
    """
    identity = caller.identity
    needs = f"{verb.name} needs the role '{verb.access}'"
    if identity is None:
        return Judgement(False, (needs,))
    if identity.level < access_level(verb.access):
        return Judgement(False, (f"{needs}; '{identity.role}' is less",))
    reasons = [needs]
    scopes = Scopes(Registry())
    try:
        scopes.check_verb(verb, identity)
    except OutOfScope as error:
        return Judgement(False, (*reasons, str(error.facts["reason"])))
    if not identity.scope.objects or verb.declaration.scope in ("open", "creates"):
        return Judgement(True, tuple(reasons))
    return _judge_object(verb, identity.scope, object_id, reasons)


def doubts(scope: Scope, verbs: Mapping[str, Verb]) -> list[str]:
    """Return what in a scope matches nothing of what is installed, a sentence each."""
    found = [
        f"note: no installed verb matches '{pattern}'"
        for pattern in scope.verbs
        if not any(Scope(verbs=(pattern,)).permits(name) for name in verbs)
    ]
    namespaces = {verb.namespace.name for verb in verbs.values() if verb.namespace.key}
    for objects in scope.objects:
        if objects.of not in namespaces:
            there = ", ".join(sorted(namespaces))
            found.append(f"note: no installed plugin has objects '{objects.of}'; there are {there}")
    return found


def _judge_object(verb: Verb, scope: Scope, object_id: str, reasons: list[str]) -> Judgement:
    places = _places(verb, object_id)
    limits = [one for one in scope.objects if one.of in places]
    shown = Scope(objects=tuple(limits)).describe() if limits else scope.describe()
    if verb.lists:
        return Judgement(True, (*reasons, f"the result has only the objects of its scope: {shown}"))
    for name, one in places.items():
        if one and any(limit.of == name and limit.names(one) for limit in limits):
            return Judgement(True, (*reasons, f"{name} {one} is in its scope by id"))
    by_tag = any(one.tags or one.own for one in limits)
    if object_id and limits and not by_tag:
        return Judgement(False, (*reasons, f"{verb.namespace.name} {object_id} is not in its scope: {shown}"))
    return Judgement(
        None, (*reasons, f"only for objects of its scope, which the running host knows: {shown}")
    )


def _places(verb: Verb, object_id: str) -> dict[str, str]:
    """Return the id of the object that a call is about, and of each one that it lies in, by namespace.

    :param object_id: of a nested object, all its ids, as `object_path` joins them
    """
    if verb.lists and not verb.on_object:
        return {verb.lists: object_id}
    levels = [level.name for level in verb.levels if level.key]
    if not verb.on_object:
        levels = levels[: len(verb.keys)]
    if len(levels) < 2:
        return dict.fromkeys(levels, object_id)
    ids = [unquote(part) for part in object_id.split("/")]
    if len(ids) != len(levels):
        return dict.fromkeys(levels, "")
    return {name: object_path(*ids[: depth + 1]) for depth, name in enumerate(levels)}


def _user(rules: Rules, name: str, own_uid: int) -> Caller:
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        raise NoSuchCaller(who=f"user:{name}", reason="this host has no such user") from None
    return _of(mapping.local_user(rules.options, uid, own_uid), f"user '{name}', on the unix socket")


def _bus(rules: Rules, name: str, _own_uid: int) -> Caller:
    return _of(mapping.bus_user(rules.options, name), f"bus user '{name}'")


def _certificate(rules: Rules, name: str, _own_uid: int) -> Caller:
    return _of(mapping.certified(rules.options, [name]), f"the owner of a certificate with the name '{name}'")


def _token(rules: Rules, name: str, _own_uid: int) -> Caller:
    now = tokens.now().timestamp()
    named = [identity for identity in rules.tokens.values() if identity.name == name]
    if not named:
        raise NoSuchCaller(
            who=f"token:{name}", reason=f"{rules.file or 'the host'} has no token of this name"
        )
    valid = [identity for identity in named if not identity.expired(now)]
    if not valid:
        return Caller(None, (f"token '{name}' in {rules.file}: it has expired",))
    best = max(valid, key=lambda identity: identity.level)
    scope = f", limited to {best.scope.describe()}" if best.scope.limited else ""
    return Caller(best, (f"token '{name}' in {rules.file}: role '{best.role}'{scope}",))


def _loopback(rules: Rules, _name: str, _own_uid: int) -> Caller:
    role = rules.options.loopback
    rule = f'[access] loopback = "{role}"'
    who = "a caller on loopback TCP without credentials"
    if role == "none":
        return Caller(None, (f"{who}: no role ({rule})",))
    return _of(Known("loopback", "loopback", (Grant(role, "loopback", rule),)), who)


def _anybody(_rules: Rules, _name: str, _own_uid: int) -> Caller:
    return Caller(None, ())


def _of(known: Known | None, who: str) -> Caller:
    identity = None if known is None else known.identity
    if known is None or identity is None:
        return Caller(None, (f"{who}: no rule in [access] gives it a role",))
    return Caller(identity, tuple(_lines(known.grants, who, identity)))


def _lines(grants: Iterable[Grant], who: str, identity: Identity) -> Iterable[str]:
    yield f"{who}: role '{identity.role}'"
    for grant in sorted(grants, key=lambda one: -ROLES.index(one.role)):
        yield f"by {grant.rule}"


_FINDERS: Final[dict[str, Callable[[Rules, str, int], Caller]]] = {
    "user": _user,
    "token": _token,
    "bus": _bus,
    "certificate": _certificate,
    "loopback": _loopback,
    ANYBODY: _anybody,
}
