"""Declaring verbs: what comes of a declaration, and which ones are refused."""

from __future__ import annotations

import threading
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from vdsm_bridge.api.collect import camel, collect
from vdsm_bridge.api.declare import Namespace, action, query, task
from vdsm_bridge.api.verb import Kind, TaskRef
from vdsm_bridge.call.context import Context
from vdsm_core.errors import NotFound
from vdsm_core.work.steps import Progress


class NoSuchLamp(NotFound):
    """No lamp has this id. The sample has an error of the same name, and that one is not meant."""

    slug = "no-such-lamp-here"


class Lamp(Namespace, key="lampID", listed_by="Lamp.list"):
    """A lamp."""

    @query(since="1.0", name="list", part="list")
    def all(self) -> list[str]:
        """Every lamp."""
        return []

    @action(since="1.1", access="admin", names={"colour": "color"}, preempts=True, done="Lit")
    def switch_on(
        self,
        lamp_id: str,
        context: Context,
        colour: str = "red",
        tags: list[str] = ["a"],  # noqa: B006
    ) -> int:
        """Light a lamp,
        in a colour.

        More about it.

        Even more.

        :param lamp_id: which
        :param colour: of the
            light
        :returns: the watts
        :raises NoSuchLamp: there is none
        """
        return len(lamp_id + colour) + len(tags) + len(context.binding)

    @task(since="1.0", revert="unburn", resumable=True)
    def burn(self, lamp_id: str, progress: Progress) -> int:
        """Burn."""
        progress.check()
        return len(lamp_id)

    def unburn(self, lamp_id: str) -> None:
        """Roll back."""


VERBS = {verb.name: verb for verb in collect(Lamp(), "lamps")}


def test_everything_is_taken_from_the_declaration() -> None:
    """Name, kind, access, documentation, parameters, errors."""
    assert list(VERBS) == ["Lamp.list", "Lamp.switchOn", "Lamp.burn"]
    verb = VERBS["Lamp.switchOn"]
    assert (verb.kind, verb.access, verb.plugin, verb.declaration.since) == (
        Kind.ACTION,
        "admin",
        "lamps",
        "1.1",
    )
    assert (verb.declaration.done, verb.declaration.preempts) == ("Lit", True)
    assert (verb.summary, verb.description) == ("Light a lamp, in a colour.", "More about it.\n\nEven more.")
    assert [(p.name, p.required, p.default, p.doc) for p in verb.params] == [
        ("lampID", True, None, "which"),
        ("color", False, "red", "of the light"),
        ("tags", False, ["a"], ""),
    ]
    assert (verb.result, verb.reply, verb.result_doc) == (int, int, "the watts")
    assert verb.errors == (NoSuchLamp,)
    assert (verb.context_param, verb.progress_param) == ("context", "")
    assert verb.on_object
    assert not VERBS["Lamp.list"].on_object


def test_a_task_replies_with_its_reference() -> None:
    """The result of its function is that of the task."""
    verb = VERBS["Lamp.burn"]
    assert (verb.kind, verb.result, verb.reply, verb.progress_param) == (Kind.TASK, int, TaskRef, "progress")


def test_arguments_are_a_type() -> None:
    """Converting to it fills the defaults, which no two calls share."""
    arguments = VERBS["Lamp.switchOn"].arguments
    one, other = (msgspec.convert({"lampID": "x", "color": "blue"}, arguments) for _ in range(2))
    assert one.tags == ["a"]
    assert one.tags is not other.tags
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"lampID": "x", "colour": "blue"}, arguments)


@pytest.mark.parametrize(
    ("python", "wire"),
    [
        ("vm_id", "vmID"),
        ("full_status", "fullStatus"),
        ("pause", "pause"),
        ("set_cpu_count", "setCPUCount"),
        ("ip", "ip"),
    ],
)
def test_wire_names(python: str, wire: str) -> None:
    """Words are joined in camel case; acronyms of VDSM's stay in capitals, save at the beginning."""
    assert camel(python) == wire


def test_namespaces_have_names_of_their_own() -> None:
    """A plural for paths, unless it is a singleton; every default can be overridden."""

    class Fuse(Namespace):
        """One box."""

    class Box(Namespace, name="FuseBox", key="boxID", plural="boxes"):
        """Boxes."""

    assert (Fuse.name, Fuse.plural, Fuse.key) == ("Fuse", "fuse", "")
    assert (Box.name, Box.plural, Box.key) == ("FuseBox", "boxes", "boxID")
    assert (Lamp.plural, Lamp.listed_by) == ("lamps", "Lamp.list")


def no_docstring(self: Any) -> None: ...


def no_result(self: Any):  # type: ignore[no-untyped-def]
    """A verb."""


def no_type(self: Any, x) -> None:  # type: ignore[no-untyped-def]
    """A verb."""


def many(self: Any, *x: int) -> None:
    """A verb."""


def keywords(self: Any, **x: int) -> None:
    """A verb."""


def positional(self: Any, x: int, /) -> None:
    """A verb."""


def unknown_error(self: Any) -> None:
    """A verb.

    :raises NoSuchThingAtAll: never
    """


def unknown_param(self: Any, x: int) -> None:
    """A verb.

    :param y: not there
    """


def odd_type(self: Any, x: dict[tuple[int, list[int]], int] | set[int] | list[int]) -> None:
    """A verb."""


def no_schema(self: Any, x: threading.Thread) -> None:
    """A verb."""


def same_wire_name(self: Any, x_id: int, xID: int) -> None:
    """A verb."""


def fine(self: Any, x: Annotated[int, Meta(ge=1)] = 1) -> None:
    """A verb."""


@pytest.mark.parametrize(
    ("function", "declared", "message"),
    [
        (no_docstring, {}, "needs a docstring"),
        (no_result, {}, "the result needs a type"),
        (no_type, {}, "parameter 'x' needs a type"),
        (many, {}, "parameter 'x' must be one that can be given by name"),
        (keywords, {}, "parameter 'x' must be one that can be given by name"),
        (positional, {}, "parameter 'x' must be one that can be given by name"),
        (unknown_error, {}, "raises 'NoSuchThingAtAll', which is no VdsmError"),
        (unknown_param, {}, "there is no parameter 'y'"),
        (odd_type, {}, "more than one array-like"),
        (no_schema, {}, "the type of parameter 'x', <class 'threading.Thread'>, has no JSON Schema"),
        (same_wire_name, {}, "names must be unique"),
        (fine, {"access": "king"}, "access 'king' is none of monitor, operator, admin"),
        (fine, {"names": {"y": "z"}}, "there is no parameter 'y'"),
        (fine, {"revert": "unfine"}, "there is no method 'unfine'"),
    ],
)
def test_what_cannot_work_is_refused(function: Any, declared: dict[str, Any], message: str) -> None:
    """A declaration that cannot mean anything is an error that names the method."""
    decorate = task if "revert" in declared else query
    thing = type("Thing", (Namespace,), {"verb": decorate(since="1.0", **declared)(function)})
    with pytest.raises(TypeError, match=r"Thing\.verb: .*") as caught:
        collect(thing())
    assert message in str(caught.value)
