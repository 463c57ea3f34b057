"""Typed references to the objects that work is done on, and the locks of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, NamedTuple, Self


class Reference(tuple[str, str]):
    """One object, by its id. Each kind of object has a class of its own: `class Machine(Reference)`.

    `kind` names the kind in messages and in what is stored; it is the lower-case name of the class unless the
    class says otherwise. Two references are equal if kind and id are. All have one order.
    """

    __slots__ = ()
    kind: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" not in vars(cls):
            cls.kind = cls.__name__.lower()

    def __new__(cls, object_id: str) -> Self:
        """Refer to an object of this kind."""
        return tuple.__new__(cls, (cls.kind, object_id))

    @classmethod
    def stored(cls, kind: str, object_id: str) -> Reference:
        """Refer to an object whose kind is known by its name only."""
        return tuple.__new__(Reference, (kind, object_id))

    def __str__(self) -> str:
        return f"{self[0]} {self[1]}"


class Lock(NamedTuple):
    """What work wants of an object: to have it alone, or to share it with others that only share it, too."""

    of: Reference
    exclusive: bool = True


def exclusive(reference: Reference) -> Lock:
    """Return the lock that nobody else may hold at the same time."""
    return Lock(reference)


def shared(reference: Reference) -> Lock:
    """Return a lock that others may share: the object stays as it is meanwhile."""
    return Lock(reference, exclusive=False)


def in_order(locks: Iterable[Lock]) -> tuple[Lock, ...]:
    """Return locks in the order of all references, each object once; exclusive if one of its locks is."""
    several = tuple(locks)
    if len(several) < 2:
        return several
    wanted: dict[Reference, bool] = {}
    for of, alone in several:
        wanted[of] = wanted.get(of, False) or alone
    return tuple(Lock(of, wanted[of]) for of in sorted(wanted))
