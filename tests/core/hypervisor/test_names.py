"""The parts of the hypervisor, as the page for authors of plugins lists them, and earlier names of calls."""

from __future__ import annotations

import re
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from tests.core.hypervisor.support import TEST_DOMAIN
from vdsm_core.deprecated import HYPERVISOR_CALLS
from vdsm_core.hypervisor import Hypervisor

ROOT = Path(__file__).parents[3]
#: The lines of the table: the attribute, the calls.
ROW = re.compile(r"^\| `(\w+)` \| (`.*)\|$", re.MULTILINE)


def public(thing: object) -> set[str]:
    """The public names of an object."""
    return {name for name in dir(thing) if not name.startswith("_")}


def test_the_page_lists_the_parts(hypervisor: Hypervisor) -> None:
    """The page has each part with its calls, and what the connection as a whole offers."""
    page = (ROOT / "docs/reference/plugin-api.md").read_text()
    section = page.partition("## Runtime.hypervisor\n")[2].partition("\n## ")[0]
    listed = {name: set(re.findall(r"`(\w+)`", calls)) for name, calls in ROW.findall(section)}
    whole = {"connected", "overdue_calls", "start", "status", "stop", "uri"}
    assert listed.keys() == public(hypervisor) - whole
    assert {name: public(getattr(hypervisor, name)) for name in listed} == listed


@pytest.mark.parametrize(("before", "now"), HYPERVISOR_CALLS.items(), ids=HYPERVISOR_CALLS)
def test_earlier_name(hypervisor: Any, before: str, now: str) -> None:
    """A call has its earlier name, too, with a warning at the line that uses it."""
    with pytest.warns(DeprecationWarning, match=f"use Runtime.hypervisor.{now}") as caught:
        found = getattr(hypervisor, before)
    assert [warning.filename for warning in caught] == [__file__]
    assert found == attrgetter(now)(hypervisor)


def test_earlier_list(hypervisor: Any) -> None:
    """The list of domains was a method by the name of what is a part now."""
    with pytest.warns(DeprecationWarning, match="use Runtime.hypervisor.domains.list_all") as caught:
        (domain,) = hypervisor.domains()
    assert caught[0].filename == __file__
    assert domain.uuid == TEST_DOMAIN


def test_no_such_name(hypervisor: Any) -> None:
    """Any other name is unknown as on every object."""
    with pytest.raises(AttributeError, match="'Hypervisor' object has no attribute 'frobnicate'"):
        _ = hypervisor.frobnicate
