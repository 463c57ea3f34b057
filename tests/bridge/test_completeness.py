"""Everything that is declared is documented: verbs, errors, events, options, hooks."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vdsm_bridge.api.verb import Kind, Verb
from vdsm_bridge.tool import installed, reference
from vdsm_bridge.tool.reference.sources import Sources
from vdsm_bridge.tool.reference.type_names import comments, fields, records
from vdsm_core import types
from vdsm_core.config import TABLES, Options
from vdsm_core.errors import NotFound, VdsmError, tree
from vdsm_core.events import event_types
from vdsm_core.hooks import specs

ROOT = Path(__file__).parents[2]
#: What this repository ships; other plugins that happen to be installed are their authors' business.
OURS = ["base", *sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))]

INSTALLED = installed.read(only=OURS)
SOURCES = Sources.of(INSTALLED)
PAGES = reference.render(INSTALLED)
VERBS = list(INSTALLED.verbs.values())
ERRORS = [error for error in tree() if SOURCES.declare(error) and "slug" in vars(error)]
EVENTS: list[Any] = [event for event in event_types() if SOURCES.declare(event)]
OPTIONS = {**TABLES, **{f"plugin.{name}": type_ for name, type_ in INSTALLED.options.items()}}
RECORDS = records(
    type_ for verb in VERBS for type_ in (*(p.type for p in verb.params), verb.result, verb.reply)
)


def sentence(text: str) -> bool:
    """Whether a text is a sentence."""
    return bool(re.match(r"[A-Z`].*[.!?:]$", text.strip(), re.DOTALL))


#: Verbs that are given the id of an object which there is not yet.
MAKERS = {"VM.migrationCreate", "VM.seal"}


def test_every_plugin_of_this_repository_can_be_read() -> None:
    """Nothing is left out of these tests because it could not be loaded."""
    assert INSTALLED.failures == {}


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_the_reference_is_fresh(name: str) -> None:
    """The pages in the repository are those that the declarations give."""
    file = ROOT / "docs" / "reference" / name
    written = file.read_text("utf-8") if file.exists() else ""
    assert written == PAGES[name], "run: make docs"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_verb(verb: Verb) -> None:
    """A verb documents its purpose, its first release, and its arguments."""
    assert sentence(verb.summary)
    assert re.fullmatch(r"\d+\.\d+", verb.declaration.since)
    keys = [level.key for level in verb.levels]
    undocumented = [param.name for param in verb.params if not param.doc and param.name not in keys]
    assert not undocumented
    assert f"### {verb.name}\n" in PAGES["verbs.md"]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_errors_of_a_verb(verb: Verb) -> None:
    """A verb on one object documents the error for a missing object, unless it creates one."""
    if verb.on_object and verb.name not in MAKERS:
        assert any(issubclass(error, NotFound) for error in verb.errors), "no error for an unknown id"


def test_verbs_on_objects_lock_them() -> None:
    """Actions and tasks on an object are ordered with the others on it."""
    some = "11111111-2222-4333-8444-555555555555"
    loose = [
        verb.name
        for verb in VERBS
        if verb.on_object and verb.kind is not Kind.QUERY
        if verb.namespace.reference(*[some] * len(verb.id_params))
        not in [lock.of for lock in verb.locks(dict.fromkeys(verb.id_params, some))]
    ]
    assert loose == []


@pytest.mark.parametrize("record", RECORDS.values(), ids=lambda record: record.__name__)
def test_record(record: type) -> None:
    """A record is documented, and is on the page of verbs."""
    assert sentence((inspect.getdoc(record) or "").partition("\n\n")[0])
    assert f"### {record.__name__}\n" in PAGES["verbs.md"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.slug)
def test_error(error: type[VdsmError]) -> None:
    """An error is documented, and is on the page of errors with its code."""
    assert inspect.getdoc(error)
    assert f"### {error.slug}\n" in PAGES["errors.md"]


def test_slugs_are_unique_among_all_plugins() -> None:
    """No two errors of what we ship share a slug."""
    slugs = [error.slug for error in ERRORS]
    assert sorted(slugs) == sorted(set(slugs))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.component}|{event.operation}")
def test_event(event: Any) -> None:
    """An event is documented, and is on the page of events."""
    assert sentence((inspect.getdoc(event) or "").partition("\n\n")[0])
    assert f"`|{event.component}|{event.operation}|…`" in PAGES["events.md"]


@pytest.mark.parametrize(
    ("table", "name"),
    [(table, field.name) for table, type_ in OPTIONS.items() for field in fields(type_)],
    ids=lambda value: value,
)
def test_option(table: str, name: str) -> None:
    """An option has a `#:` comment, a default, and a row on the page of options."""
    type_: type[Options] = OPTIONS[table]
    assert sentence(comments(type_).get(name, "")), "no sentence in a #: comment above it"
    section = PAGES["options.md"].partition(f"## [{table}]\n")[2].partition("\n## ")[0]
    assert f"| `{name}` |" in section


@pytest.mark.parametrize("table", OPTIONS)
def test_units(table: str) -> None:
    """What has a fraction, and what is a size, has a unit."""
    without = []
    for field in fields(OPTIONS[table]):
        info = field.type
        unit = (
            (info.extra_json_schema or {}).get("x-unit")
            if isinstance(info, msgspec.inspect.Metadata)
            else None
        )
        kind = info.type if isinstance(info, msgspec.inspect.Metadata) else info
        size = re.match(r"(Seconds|Days|Bytes|MiB)\b", comments(OPTIONS[table]).get(field.name, ""))
        if not unit and (size or isinstance(kind, msgspec.inspect.FloatType)):
            without.append(field.name)
    assert without == []


@pytest.mark.parametrize("name", specs.every())
def test_hook(name: str) -> None:
    """A hook is documented, and has a section on the page of hooks."""
    assert sentence((inspect.getdoc(specs.every()[name].function) or "").partition("\n\n")[0])
    assert f"## {name}\n" in PAGES["hooks.md"]


def test_links_lead_somewhere() -> None:
    """Every link within the reference has its heading."""
    anchors = {
        name: {
            re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
            for line in page.splitlines()
            if line.startswith("#")
        }
        for name, page in PAGES.items()
    }
    dead = [
        (name, target, anchor)
        for name, page in PAGES.items()
        for target, anchor in re.findall(r"\]\(([\w.]*)#([\w-]+)\)", page)
        if anchor not in anchors[target or name]
    ]
    assert dead == []


@pytest.mark.parametrize("table", OPTIONS)
def test_numbers_are_bounded(table: str) -> None:
    """Each number of the configuration has a greatest value, which infinity, 1e300 and nan exceed."""
    unbounded = []
    for field in fields(OPTIONS[table]):
        info = field.type
        kind = info.type if isinstance(info, msgspec.inspect.Metadata) else info
        if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
            if kind.le is None and kind.lt is None:
                unbounded.append(field.name)
            if isinstance(kind, msgspec.inspect.FloatType):
                for value in (math.inf, math.nan, 1e300):
                    with pytest.raises(types.TypeMismatch):
                        types.convert({field.encode_name: value}, OPTIONS[table])
    assert unbounded == []
