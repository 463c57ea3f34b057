"""The page of the configuration's options."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import inspect

from vdsm_bridge.tool.installed import Installed
from vdsm_bridge.tool.reference.markdown import line, table
from vdsm_bridge.tool.reference.sources import Sources
from vdsm_bridge.tool.reference.type_names import comments, describe, fields, records
from vdsm_core.config import TABLES, Options
from vdsm_core.deprecated import OPTIONS, described

_INTRODUCTION: Final = """\
# Options

`/etc/vdsm/vdsm.toml` is read first, then `/etc/vdsm/conf.d/*.toml` in the order of their names; a later file
overrides single keys of an earlier one. An ordinary user's files lie in `~/.config/vdsm`
(`$XDG_CONFIG_HOME/vdsm`). `vdsmd --config FILE` reads that one instead.

`vdsm-tool config check` checks whether the daemon would accept them; `vdsm-tool config show` prints
the values.
SIGHUP applies changed tables `[plugin.*]`, `[access]`, `[hooks]`, `[limits]` and `[tls]`, and `required` in
`[daemon]`; changes of the other tables take effect at the next start.
"""
_SWITCH: Final = ("`enabled`", "true or false", "", "`true`", "Whether the plugin runs.")


def page(installed: Installed, _: Sources) -> str:
    """Return `options.md`."""
    return text(installed)


def text(installed: Installed) -> str:
    """Return the page; it needs only the types of the options."""
    names = sorted({plugin.name for plugin in installed.plugins})
    parts = [_INTRODUCTION]
    parts += [_table(name, type_, line(type_), []) for name, type_ in TABLES.items()]
    for name in names:
        type_ = installed.options.get(name, Options)
        says = line(type_) if type_ is not Options else "This plugin has no options of its own."
        parts.append(_table(f"plugin.{name}", type_, says, [_SWITCH]))
    return "\n".join(parts)


def _table(name: str, type_: type[Options], says: str, rows: list[tuple[str, ...]]) -> str:
    notes = comments(type_)
    rows += [
        (f"`{field.encode_name}`", *_type(field.type), default(field), _meaning(name, field, notes))
        for field in fields(type_)
    ]
    columns = ("key", "type", "unit", "default", "meaning")
    parts = [f"## [{name}]\n\n{says}\n\n{table(columns, rows)}"]
    for title, record in records([each.type for each in msgspec.structs.fields(type_)]).items():
        within = comments(record)
        inner = [
            (f"`{field.encode_name}`", *_type(field.type), default(field), within.get(field.name, ""))
            for field in fields(record)
        ]
        parts.append(f"### {title}\n\n{line(record)}\n\n{table(columns, inner)}")
    return "\n".join(parts)


def _meaning(table: str, field: inspect.Field, notes: dict[str, str]) -> str:
    return described(notes.get(field.name, ""), OPTIONS, f"{table}.{field.encode_name}").replace("\n\n", " ")


def _type(info: inspect.Type) -> tuple[str, str]:
    """Return the type in words, and the unit."""
    unit = str((info.extra_json_schema or {}).get("x-unit", "")) if isinstance(info, inspect.Metadata) else ""
    return describe(info.type if unit and isinstance(info, inspect.Metadata) else info), unit


def section(page: str, name: str) -> str:
    """Return the part of the page about a table: `rest`, `plugin.rest`, `daemon`; empty if there is none."""
    for title in (f"## [plugin.{name}]\n", f"## [{name}]\n"):
        _, found, rest = page.partition(title)
        if found:
            return found + rest.partition("\n## [")[0].rstrip()
    return ""


def default(field: inspect.Field) -> str:
    """Return the default of an option; for a function, its docstring: the value depends on the user."""
    factory: Any = field.default_factory
    if field.default is not msgspec.NODEFAULT:
        return f"`{msgspec.json.encode(field.default).decode()}`"
    if factory is msgspec.NODEFAULT:
        return ""
    if getattr(factory, "__doc__", None) and not isinstance(factory, type):
        return line(factory)
    return f"`{msgspec.json.encode(factory()).decode()}`"
