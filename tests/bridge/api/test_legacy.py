"""Old names of verbs, and their form on VDSM's bridge: what a declaration comes to, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from vdsm_bridge import LegacyForm, LegacyMethod, Namespace, action, query
from vdsm_bridge.api.agreement import VerbConflict
from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.api.verb import Verb
from vdsm_core.types import Record


class Light(Record, frozen=True):
    """How a lamp shines."""

    lumen: int
    colour: str


def verb_of(legacy: Any, *, name: str = "Lamp", plugin: str = "lamps") -> Verb:
    """A verb with two parameters, and with this for the old wires."""

    def shine(self: Any, lamp_id: str, percent: int = 100) -> Light:
        """Shine."""
        return Light(lumen=len(f"{self}{lamp_id}") + percent, colour="red")

    shine.__annotations__["return"] = Light
    cls = type(name, (Namespace,), {"shine": query(since="1.0", legacy=legacy)(shine)}, key="lampID")
    (verb,) = collect(cls(), plugin)
    return verb


def test_nothing_is_declared() -> None:
    """A verb has no old name; by its full name it has its own parameters, and VDSM's reply had no result."""
    verb = verb_of(())
    assert verb.legacy_methods == ()
    assert verb.legacy_form == LegacyForm(order=("lampID", "percent"), member="")


def test_defaults() -> None:
    """An old method has the verb's parameters by position; the bridge unwrapped what it has as the result."""
    verb = verb_of(LegacyMethod("lampShine", reply="light"))
    (method,) = verb.legacy_methods
    assert (method.name, method.args, method.reply) == ("lampShine", ("lampID", "percent"), "light")
    assert verb.legacy_form == LegacyForm(order=("lampID", "percent"), member="light")


def test_all_is_declared() -> None:
    """Several old names, each in its own form, and the form of the bridge beside them."""
    verb = verb_of(
        [
            LegacyMethod("shine1", args=("lampID", LegacyMethod.IGNORED, "percent"), members=("lumen",)),
            LegacyMethod("shine2", args=("lampID",), reply="second", shape="array"),
            LegacyForm(order=("percent", "lampID"), constant={"a": 1}),
        ]
    )
    assert [method.name for method in verb.legacy_methods] == ["shine1", "shine2"]
    assert verb.legacy_methods[0].args == ("lampID", "", "percent")
    assert verb.legacy_form == LegacyForm(order=("percent", "lampID"), member="second", constant={"a": 1})


@pytest.mark.parametrize(
    ("legacy", "message"),
    [
        (LegacyMethod("Lamp.shine"), "'Lamp.shine' is no name of letters, digits and underscores"),
        (LegacyMethod("system.shine"), "is no name of letters"),
        (LegacyMethod(""), "'' is no name of letters"),
        (LegacyMethod("s", args=("lampID", "colour")), "'s' has an argument 'colour', which is no parameter"),
        (LegacyMethod("s", args=("lampID", "lampID")), "'s' has an argument twice"),
        (LegacyMethod("s", members=("watts",)), "the result has no member 'watts' for the old name 's'"),
        (LegacyMethod("s", id_inside="lampId"), "so it takes exactly one argument"),
        ((LegacyMethod("s"), LegacyMethod("s")), "an old name stands twice: s, s"),
        (LegacyForm(order=("colour",)), "LegacyForm has an argument 'colour'"),
        ((LegacyForm(), LegacyForm()), "more than one LegacyForm"),
    ],
)
def test_what_cannot_work_is_refused(legacy: Any, message: str) -> None:
    """A declaration that speaks of what the verb does not have is an error that names the method."""
    with pytest.raises(TypeError, match=r"Lamp\.shine: .*") as caught:
        verb_of(legacy)
    assert message in str(caught.value)


def test_one_old_name_for_two_verbs() -> None:
    """Nothing of the second plugin is added; the error names both, and both verbs."""
    registry = Registry()
    registry.add([verb_of(LegacyMethod("shine"))], "vdsm-lamps 1.0")
    other = verb_of([LegacyMethod("glow"), LegacyMethod("shine")], name="Sun", plugin="suns")
    with pytest.raises(VerbConflict) as caught:
        registry.add([other])
    assert str(caught.value) == (
        "the old name 'shine' (of Lamp.shine and Sun.shine) is offered by the plugins "
        "'lamps' (vdsm-lamps 1.0) and 'suns'"
    )
    assert list(registry.verbs) == ["Lamp.shine"]
    registry.remove("lamps")
    registry.add([other])


def test_one_old_name_for_two_verbs_of_a_plugin() -> None:
    """The error names the classes."""

    class Bell(Namespace):
        """A bell."""

        @action(since="1.0", legacy=LegacyMethod("ring"))
        def ring(self) -> None:
            """Ring."""

        @action(since="1.0", legacy=LegacyMethod("ring"))
        def toll(self) -> None:
            """Ring slowly."""

    with pytest.raises(
        VerbConflict, match=r"the old name 'ring' \(of Bell.ring and Bell.toll\) .* the classes"
    ):
        Registry().add(collect(Bell(), "bells"))


def test_the_revision_includes_it() -> None:
    """A client that keeps the API sees that an old name came, or has another form."""
    revisions = set()
    for legacy in ((), LegacyMethod("shine"), LegacyMethod("shine", reply="x"), LegacyForm(member="x")):
        registry = Registry()
        registry.add([verb_of(legacy)])
        revisions.add(registry.revision)
    assert len(revisions) == 4
