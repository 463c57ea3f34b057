"""Typed references to the objects that work is done on, and the locks of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, NamedTuple, Self


class Reference(tuple[str, ...]):
    """One object, by its id or ids. Each kind of object has a class of its own: `class Machine(Reference)`.

    An object that lies in another needs several ids, the outermost first: `Volume(domain_id, image_id, id)`.
    `kind` names the kind in messages and in what is stored; it is the lower-case name of the class unless the
    class defines it. Two references are equal if kind and ids are. All references have one order.
    """

    __slots__ = ()
    kind: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" not in vars(cls):
            cls.kind = cls.__name__.lower()

    def __new__(cls, *ids: str) -> Self:
        """Refer to an object of this kind."""
        return tuple.__new__(cls, (cls.kind, *ids))

    @classmethod
    def stored(cls, kind: str, *ids: str) -> Reference:
        """Refer to an object of whose kind only the name is at hand."""
        return tuple.__new__(Reference, (kind, *ids))

    @property
    def ids(self) -> tuple[str, ...]:
        """The id of the object, after those of the objects that it lies in."""
        return self[1:]

    def __str__(self) -> str:
        return f"{self[0]} {'/'.join(self[1:])}"


class Lock(NamedTuple):
    """What work wants of an object: to have it alone, or to share it with others that only share it, too."""

    of: Reference
    exclusive: bool = True


def exclusive(reference: Reference) -> Lock:
    """Return an exclusive lock, which excludes all other locks on the object."""
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
