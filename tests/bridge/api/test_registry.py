"""The registry: verbs of several plugins side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import msgspec
import pytest

from vdsm_bridge.api.agreement import VerbConflict
from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.declare import Namespace, query
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.api.verb import Verb
from vdsm_core.errors import NoSuchVerb, Unavailable
from vdsm_core.types import Record


class Shine(Record, frozen=True):
    """How a lamp shines."""

    lumen: int


#: The same record in another version of its plugin.
OTHER_SHINE = msgspec.defstruct("Shine", [("lumen", float)], bases=(Record,), module=__name__)


def verbs(
    plugin: str, method: str, *, name: str = "Lamp", since: str = "1.0", result: Any = int, **keywords: str
) -> list[Verb]:
    """The verbs of a plugin with one namespace and one verb."""

    def function(self: Any) -> int:
        """A verb."""
        return id(self)

    function.__annotations__["return"] = result
    cls = type(name, (Namespace,), {method: query(since=since)(function)}, **keywords)
    return collect(cls(), plugin)


def test_verbs_are_found_and_sorted() -> None:
    """Verbs of all plugins, by full name; what is not there is an error with the name."""
    registry = Registry()
    registry.add(verbs("b", "shine"))
    registry.add(verbs("a", "glow"))
    assert list(registry.verbs) == ["Lamp.glow", "Lamp.shine"]
    assert registry.find("Lamp.glow").plugin == "a"
    with pytest.raises(NoSuchVerb, match=r"There is no verb 'Lamp\.burn'"):
        registry.find("Lamp.burn")


def test_the_same_verb_twice_names_both() -> None:
    """Nothing of the second plugin is added."""
    registry = Registry()
    registry.add(verbs("first", "shine"))
    with pytest.raises(VerbConflict, match=r"Lamp\.shine is offered by the plugins 'first' and 'second'"):
        registry.add([*verbs("second", "glow"), *verbs("second", "shine")])
    assert list(registry.verbs) == ["Lamp.shine"]


@pytest.mark.parametrize(
    "keywords", [{"key": "otherID"}, {"plural": "lights"}, {"name": "Light", "plural": "lamp"}]
)
def test_namespaces_that_do_not_agree(keywords: dict[str, str]) -> None:
    """Plugins may share a namespace only with the same key and plural; a plural belongs to one namespace."""
    registry = Registry()
    registry.add(verbs("first", "shine"))
    with pytest.raises(VerbConflict, match="the namespace"):
        registry.add(verbs("second", "glow", **keywords))


def test_a_plugins_verbs_go_together() -> None:
    """Removing one plugin leaves the others'; removing it again is no error."""
    registry = Registry()
    registry.add(verbs("first", "shine"))
    registry.add(verbs("second", "glow"))
    held = registry.verbs
    registry.remove("first")
    registry.remove("first")
    assert list(registry.verbs) == ["Lamp.glow"]
    assert len(held) == 2


def test_the_revision_changes_with_the_api_only() -> None:
    """Equal declarations have equal revisions, whatever order they came in."""
    one, other = Registry(), Registry()
    one.add(verbs("a", "shine"))
    one.add(verbs("b", "glow"))
    other.add(verbs("b", "glow"))
    half = other.revision
    other.add(verbs("a", "shine"))
    assert one.revision == other.revision != half
    other.remove("a")
    assert other.revision == half
    typed = Registry()
    typed.add(verbs("b", "glow", result=Shine))
    typed_otherwise = Registry()
    typed_otherwise.add(verbs("b", "glow", result=OTHER_SHINE))
    assert len({typed.revision, typed_otherwise.revision, half}) == 3
    changed = Registry()
    changed.add(verbs("b", "glow", since="1.1"))
    assert changed.revision != half


def test_a_call_waits_while_its_plugin_is_replaced() -> None:
    """It goes to the new verb; a call of another plugin does not wait."""
    registry = Registry()
    registry.add([*verbs("lights", "shine"), *verbs("other", "glow")])
    old = registry.find("Lamp.shine")
    (new,) = verbs("lights", "shine")
    registry.hold("lights")
    registry.leave(registry.enter("Lamp.glow", 0))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(registry.enter, "Lamp.shine", 10)
        assert wait([call], 0.1).not_done
        registry.replace("lights", [new])
        assert call.result(10) is new
    assert (registry.offers(old), registry.offers(new)) == (False, True)


def test_a_call_waits_no_longer_than_it_may() -> None:
    """Then it learns what is the matter; and at once when the plugin does not come back."""
    registry = Registry()
    registry.add(verbs("lights", "shine"))
    registry.hold("lights")
    with pytest.raises(
        Unavailable, match=r"the plugin 'lights', which offers Lamp\.shine, is being restarted"
    ):
        registry.enter("Lamp.shine", 0.01)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(registry.enter, "Lamp.shine", 10)
        assert wait([call], 0.1).not_done
        registry.remove("lights")
        with pytest.raises(NoSuchVerb):
            call.result(10)
    registry.add(verbs("lights", "shine"))
    registry.leave(registry.enter("Lamp.shine", 0))


def test_calls_that_run_are_waited_for() -> None:
    """Those of the plugin, and not for ever."""
    registry = Registry()
    registry.add([*verbs("lights", "shine"), *verbs("other", "glow")])
    registry.enter("Lamp.glow", 0)
    first, second = (registry.enter("Lamp.shine", 0) for _ in range(2))
    assert registry.drain("lights", 0.01) == 2
    registry.leave(first)
    with ThreadPoolExecutor(1) as pool:
        drained = pool.submit(registry.drain, "lights", 10)
        assert wait([drained], 0.1).not_done
        registry.leave(second)
        assert drained.result(10) == 0
