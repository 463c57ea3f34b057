"""The page of verbs and of the records in their parameters and results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

import msgspec
from msgspec import inspect

from vdsm_bridge.api.routes import Route, derive
from vdsm_bridge.api.verb import Kind, Param, Verb
from vdsm_bridge.tool.installed import Installed
from vdsm_bridge.tool.reference.markdown import line, table
from vdsm_bridge.tool.reference.sources import Sources
from vdsm_bridge.tool.reference.type_names import comments, describe, fields, may_be_absent, records, spell

_INTRODUCTION: Final = """\
# Verbs

Every verb has one declaration, and every binding serves it under its full name: XML-RPC as `Host.ping`,
REST as `POST /api/verbs/Host.ping`. Each verb is listed with its further REST routes, and with its names in
VDSM's XML-RPC, their positional arguments and the members of the reply.

A **query** changes nothing. An **action** changes something; actions on one object run one after the other.
A **task** starts long work and returns its id at once; [Task.getStatus](#taskgetstatus) returns its progress.
Access: `monitor` < `operator` < `admin`; a verb may be called with its role or a higher one.
Besides the errors of a verb, those that any call can fail with may occur; see [errors](errors.md).
"""


def page(installed: Installed, _: Sources) -> str:
    """Return `verbs.md`."""
    verbs = list(installed.verbs.values())
    routes: dict[str, list[Route]] = {}
    for route in derive(installed.verbs).routes:
        if not route.path.startswith("/verbs/"):
            routes.setdefault(route.verb.name, []).append(route)
    parts = [_INTRODUCTION]
    for name, group in groupby(verbs, key=lambda verb: verb.namespace.name):
        members = list(group)
        says = dict.fromkeys(line(verb.namespace) for verb in members)
        parts.append(f"## {name}\n\n{' '.join(says)}\n")
        parts += [_verb(verb, routes.get(verb.name, [])) for verb in members]
    parts.append("## Records\n\nMembers marked *optional* may be absent.\n")
    parts += [_record(name, cls) for name, cls in records(_types(verbs)).items()]
    return "\n".join(parts)


def _types(verbs: Iterable[Verb]) -> Iterator[Any]:
    for verb in verbs:
        yield from (param.type for param in verb.params)
        yield verb.result
        yield verb.reply


def _verb(verb: Verb, routes: Iterable[Route]) -> str:
    facts = [
        verb.kind.value,
        f"access `{verb.access}`",
        f"since {verb.declaration.since}",
        f"plugin `{verb.plugin}`",
    ]
    if verb.declaration.preempts:
        facts.append("preempts waiting actions")
    parts = [f"### {verb.name}\n", f"{verb.summary}\n"]
    if verb.description:
        parts.append(f"{verb.description}\n")
    parts += [f"*{', '.join(facts)}*\n", *_rest(routes), *_old_names(verb)]
    if verb.params:
        rows = [_param(param, verb) for param in verb.params]
        parts.append(table(("parameter", "type", "default", "meaning"), rows))
    parts += _result(verb)
    if verb.errors:
        slugs = ", ".join(f"[`{error.slug}`](errors.md#{error.slug})" for error in verb.errors)
        parts.append(f"Errors: {slugs}.\n")
    return "\n".join(parts)


def _rest(routes: Iterable[Route]) -> list[str]:
    return [f"REST: {', '.join(f'`{r.method} /api{r.path}`' for r in routes)}\n"] if routes else []


def _old_names(verb: Verb) -> list[str]:
    calls = []
    for method in verb.legacy_methods:
        args = ", ".join(name or "options" for name in method.args or ())
        members = [f"`{name}`" for name in (method.reply, *method.members) if name]
        calls.append(f"`{method.name}({args})`{', result in ' if members else ''}{', '.join(members)}")
    return [f"XML-RPC also: {'; '.join(calls)}\n"] if calls else []


def _param(param: Param, verb: Verb) -> tuple[str, ...]:
    key = next((f"of the {level.name}" for level in verb.levels if level.key == param.name), "")
    return (
        f"`{param.name}`",
        spell(param.type),
        "required" if param.required else f"`{msgspec.json.encode(param.default).decode()}`",
        param.doc or key,
    )


def _result(verb: Verb) -> list[str]:
    says = f": {verb.result_doc}" if verb.result_doc else ""
    if verb.kind is Kind.TASK:
        return [f"Result: {spell(verb.reply)}; that of the task: {spell(verb.result)}{says}.\n"]
    return [f"Result: {spell(verb.result)}{says}.\n"] if verb.result is not type(None) else []


def _record(name: str, cls: type) -> str:
    notes = comments(cls)
    rows = [(f"`{field.encode_name}`", _member(field), notes.get(field.name, "")) for field in fields(cls)]
    return f"### {name}\n\n{line(cls)}\n\n{table(('member', 'type', 'meaning'), rows)}"


def _member(field: inspect.Field) -> str:
    words = describe(field.type)
    return f"{words}, *optional*" if may_be_absent(field) or not field.required else words
