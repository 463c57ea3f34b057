"""Hooks of queries: plugins may edit what a caller gets.

Members that a plugin adds reach the caller, though the type of the result does not declare them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from vdsm_core.hooks.declare import Hook
from vdsm_core.hooks.manager import Hooks
from vdsm_core.types import Record, TypeMismatch, builtins, convert

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R", bound=Record)


class AnswerHooks:
    """Calls the hooks after queries. Nothing is converted for a hook that no plugin implements."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def check(self, hook: Hook[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call the hook before a query.

        :raises VdsmError: a plugin refuses
        """
        self._hooks.run(hook, *args, **kwargs)

    def one(
        self,
        hook: Hook[Concatenate[dict[str, Any], P], dict[str, Any]],
        answer: R,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Return a result as the plugins have left it."""
        if not self._hooks.implemented(hook):
            return answer
        edited = self._hooks.run(hook, builtins(answer), *args, **kwargs)
        return _restored(hook.name, answer, lambda: extended(type(answer), edited))

    def several(
        self,
        hook: Hook[Concatenate[list[dict[str, Any]], P], list[dict[str, Any]]],
        type_: type[R],
        answer: list[R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> list[R]:
        """Return a list of results as the plugins have left it."""
        if not self._hooks.implemented(hook):
            return answer
        edited = self._hooks.run(hook, builtins(answer), *args, **kwargs)
        return _restored(hook.name, answer, lambda: [extended(type_, each) for each in edited])


T = TypeVar("T")


def _restored(hook: str, answer: T, restore: Callable[[], T]) -> T:
    try:
        return restore()
    except TypeMismatch as error:
        log.warning(
            "The edits of hook %s are discarded: %s: %s", hook, error.path or "the document", error.reason
        )
        return answer


def extended(type_: type[R], data: Any) -> R:
    """Make a record of plain data; members that its type does not have become those of a subclass.

    :raises TypeMismatch: the data does not fit
    """
    known: R = convert(data, type_, text=True)
    names = {field.encode_name for field in msgspec.structs.fields(type_)}
    unknown = {name: value for name, value in data.items() if name not in names}
    if not unknown:
        return known
    values = [getattr(known, field) for field in type_.__struct_fields__]
    made: R = _subclass(type_, tuple(unknown))(
        **dict(zip(type_.__struct_fields__, values, strict=True)),
        **{_attribute(index): value for index, value in enumerate(unknown.values())},
    )
    return made


@functools.lru_cache(maxsize=64)
def _subclass(type_: type[R], names: tuple[str, ...]) -> type[R]:
    fields = [(_attribute(index), Any, msgspec.field(name=name)) for index, name in enumerate(names)]
    return msgspec.defstruct(type_.__name__, fields, bases=(type_,), frozen=True, kw_only=True)  # type: ignore[return-value] # of its base


def _attribute(index: int) -> str:
    return f"added_{index}"
