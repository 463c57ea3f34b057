"""Decorators that declare a hook. Each decides what becomes of the results of the implementations.

::

    @check
    def vdsm_before_vm_pause(vm_id: str) -> None:
        "A machine is about to be paused."

    hooks.run(vdsm_before_vm_pause, vm_id)

Every implementation is called with copies of the arguments. What it does to them after its deadline, or for
any plugin but itself, has no effect.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

import pluggy

from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.hooks import PROJECT, copies
from vdsm_core.hooks.calls import Implementation
from vdsm_core.hooks.errors import HookDeadline, HookUnavailable

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D")

_Arguments = dict[str, Any]
_Combine = Callable[[Sequence[Implementation], _Arguments], object]
_hookspec = pluggy.HookspecMarker(PROJECT)


class Hook(Generic[P, R]):
    """A declared hook. `P` are the parameters of a call, `R` is its result.

    :param function: the declaration; its name is the hook's
    :param combine: calls the implementations, and returns the result of the hook
    """

    def __init__(self, function: Callable[..., object], combine: _Combine) -> None:
        self.function = _hookspec(function)
        self.name = function.__name__
        self._signature = inspect.signature(function)
        self._combine = combine

    def call(self, implementations: Sequence[Implementation], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the implementations one after the other, according to the hook's decorator."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return cast("R", self._combine(implementations, bound.arguments))


def check(function: Callable[P, None]) -> Hook[P, None]:
    """Declare a hook whose implementations may refuse: the first error ends the call."""

    def combine(implementations: Sequence[Implementation], arguments: _Arguments) -> None:
        for implementation in implementations:
            implementation(copies.deep(arguments))

    return Hook(function, combine)


def notify(function: Callable[P, None]) -> Hook[P, None]:
    """Declare a hook whose implementations are only notified: their errors are logged."""

    def combine(implementations: Sequence[Implementation], arguments: _Arguments) -> None:
        for implementation in implementations:
            with _logged(implementation):
                implementation(copies.deep(arguments))

    return Hook(function, combine)


@contextlib.contextmanager
def _logged(implementation: Implementation) -> Iterator[None]:
    """Log what an implementation raises.

    Isolation: a hook that is only notified must not break what it is notified of.
    """
    try:
        yield
    except (HookDeadline, HookUnavailable) as error:
        log.warning("%s", error)
    except VdsmError as error:
        log.warning("Plugin %s raised an error in %s: %s", implementation.plugin, implementation.hook, error)
    except Exception:
        log.exception("Plugin %s failed in %s", implementation.plugin, implementation.hook)


def edit(function: Callable[Concatenate[D, P], None]) -> Hook[Concatenate[D, P], D]:
    """Declare a hook whose implementations may edit its first argument, in place, or refuse.

    The call returns the edited document; the one that it was given stays as it is. The first error ends
    the call.
    """

    def combine(implementations: Sequence[Implementation], arguments: _Arguments) -> object:
        for implementation in implementations:
            arguments = _edited(implementation, arguments)
        return arguments[next(iter(arguments))]

    return Hook(function, combine)


def amend(function: Callable[Concatenate[D, P], None]) -> Hook[Concatenate[D, P], D]:
    """Declare a hook whose implementations may edit its first argument, in place, but cannot refuse.

    The call returns the edited document; the one that it was given stays as it is. The errors of an
    implementation are logged, and its edits are discarded.
    """

    def combine(implementations: Sequence[Implementation], arguments: _Arguments) -> object:
        for implementation in implementations:
            with _logged(implementation):
                arguments = _edited(implementation, arguments)
        return arguments[next(iter(arguments))]

    return Hook(function, combine)


def _edited(implementation: Implementation, arguments: _Arguments) -> _Arguments:
    """Call an implementation, and return the arguments with the document as it has left it.

    :raises OperationFailed: it has left what is no document
    """
    document = next(iter(arguments))
    given = copies.deep(arguments)
    implementation(given)
    try:
        # A copy again: the implementation may have left threads that go on editing its own.
        return {**arguments, document: copies.document(given[document])}
    except ValueError as error:
        raise OperationFailed(
            reason=f"hook {implementation.hook} of plugin '{implementation.plugin}': {error}"
        ) from None


def first_result(function: Callable[P, R | None]) -> Hook[P, R | None]:
    """Declare a hook whose result is that of the first implementation that does not return None.

    An implementation that cannot be waited for fails the call only if no other one has a result.
    """

    def combine(implementations: Sequence[Implementation], arguments: _Arguments) -> object:
        hanging: VdsmError | None = None
        for implementation in implementations:
            try:
                result = implementation(copies.deep(arguments))
            except (HookDeadline, HookUnavailable) as error:
                hanging = hanging or error
                continue
            if result is not None:
                return result
        if hanging is not None:
            raise hanging
        return None

    return Hook(function, combine)
