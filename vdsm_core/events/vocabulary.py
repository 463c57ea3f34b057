"""Events, their names, and patterns that select them.

Ids are VDSM's: `|component|operation|object`, for example `|virt|VM_status|<vmId>`. Every event has a
number; numbers grow and never repeat, across restarts and power cuts too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import msgspec

from vdsm_core.types import Record

#: VDSM's last part of the id of an event that concerns no single object.
NO_OBJECT: Final = "no_id"


class EventParams(Record, frozen=True):
    """Base of the typed parameters of an event; a subclass declares one kind of event.

    ::

        class LampBroke(EventParams, frozen=True):
            \"\"\"A lamp went dark.\"\"\"
            component: ClassVar[str] = "light"
            operation: ClassVar[str] = "broken"
            hours: int

    An event whose class sets `bulk` (statistics, progress) may be overtaken by others, except by those about
    the same object. `about` is the kind of the object in the id, as `Reference.kind` names it; empty for
    events about no single object, which callers that are restricted to some objects do not see.
    """

    component: ClassVar[str]
    operation: ClassVar[str]
    bulk: ClassVar[bool] = False
    about: ClassVar[str] = ""


class Gap(EventParams, frozen=True):
    """Events were lost to this subscriber: numbers `from` to `to`, both included. Read the state anew.

    It replaces the missing events: its own number is `to`, so that a subscriber that resumes after it
    continues after the gap. It is not in the journal.
    """

    component: ClassVar[str] = "events"
    operation: ClassVar[str] = "gap"
    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")
    reason: str


class Event(Record, frozen=True):
    """One thing that happened. `time` is the Unix time in seconds.

    `params` is plain data by wire name, the same whether the event is new or read from the journal.
    """

    seq: int
    id: str
    time: float
    params: dict[str, Any]

    @property
    def is_gap(self) -> bool:
        """Whether it announces missing events."""
        return self.id == GAP_ID


def event_id(component: str, operation: str, object_id: str = "") -> str:
    """Return the id of an event about one object, or about none (`no_id`)."""
    return f"|{component}|{operation}|{object_id or NO_OBJECT}"


GAP_ID: Final = event_id(Gap.component, Gap.operation)


def compile_pattern(pattern: str | Sequence[str]) -> Callable[[str], bool]:
    """Return a predicate: whether an event id matches.

    :param pattern: an event id in which `*` stands for any text within a part; missing parts match all;
        empty matches every event; of several patterns one must match
    """
    if not isinstance(pattern, str):
        several = [compile_pattern(one) for one in pattern or ("",)]
        return several[0] if len(several) == 1 else lambda candidate: any(fit(candidate) for fit in several)
    parts = _parts(pattern)
    if parts == ["*"] * 3:
        return lambda _: True
    compiled = re.compile(rf"\|{_expression(parts)}")
    return lambda candidate: compiled.fullmatch(candidate) is not None


def may_match(pattern: str | Sequence[str], component: str, operation: str) -> bool:
    """Return whether a pattern, or one of several, matches events of a kind, of any object."""
    patterns = [pattern] if isinstance(pattern, str) else pattern or [""]
    kind = f"{component}|{operation}"
    return any(re.fullmatch(_expression(_parts(one)[:2]), kind) for one in patterns)


def _parts(pattern: str) -> list[str]:
    bare = pattern.strip("|")
    return [*(bare.split("|") if bare else []), "*", "*", "*"][:3]


def _expression(parts: list[str]) -> str:
    return r"\|".join(_part_expression(part) for part in parts)


def _part_expression(part: str) -> str:
    """Return a regular expression for one part of a pattern, which matches in linear time.

    Each text between two stars is matched where it first occurs, and never looked for again (an atomic
    group): as a plain expression, a hundred stars would hold the interpreter for ages.
    """
    first, *rest = map(re.escape, part.split("*"))
    if not rest:
        return first
    between = "".join(f"(?>[^|]*?{text})" for text in rest[:-1] if text)
    return f"{first}{between}[^|]*{rest[-1]}"


def event_types(root: type[EventParams] = EventParams) -> list[type[EventParams]]:
    """Return every kind of event declared in this process, by component and operation."""
    found = []
    for child in root.__subclasses__():
        if "operation" in vars(child):
            found.append(child)
        found += event_types(child)
    return sorted(found, key=lambda cls: (cls.component, cls.operation))
