"""Namespaces: the nouns of the API, and where each stands in the tree of objects."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final, NamedTuple

from vdsm_bridge.api.marks import Marks
from vdsm_core.work.references import Reference

_BETWEEN_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
#: A plural is a segment of paths that needs no escape (RFC 3986, section 2.3).
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._~-]+")


class Level(NamedTuple):
    """One level of the tree of objects: a namespace, as its plugins agree on it.

    :ivar parent: name of the namespace that its objects lie in; empty at the top
    """

    name: str
    key: str
    plural: str
    parent: str = ""


class Namespace:
    """A noun of the API: verbs on one kind of object, or on the host itself.

    Class keywords:

    - `name`: wire name, by default the name of the class
    - `key`: wire name of the parameter that holds the id of one object; empty for a singleton
    - `plural`: the collection in paths, by default the name in lower case with dashes, and "s"
    - `listed_by`: full name of the query that lists the objects, all of them or those of one parent
    - `parent`: the namespace whose objects these lie in: its class, or its name if another plugin has it;
      an object is then found by the ids of its parents and its own
    - `reference`: the type of references to the objects, for locks; one of their own by default
    - `group_of`: the namespace whose verbs this class has a part of; it takes no other keyword then
    """

    name: ClassVar[str] = ""
    key: ClassVar[str] = ""
    plural: ClassVar[str] = ""
    listed_by: ClassVar[str] = ""
    #: From the outermost namespace to this one. Above a parent that is given by its name nothing is known.
    levels: ClassVar[tuple[Level, ...]] = ()
    reference: ClassVar[type[Reference]] = Reference
    #: The class that stands for the namespace: itself, unless it is a group.
    whole: ClassVar[type[Namespace]]

    def __init_subclass__(
        cls,
        *,
        name: str = "",
        key: str = "",
        plural: str = "",
        listed_by: str = "",
        parent: type[Namespace] | str = "",
        reference: type[Reference] | None = None,
        group_of: type[Namespace] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if group_of is not None:
            if name or key or plural or listed_by or parent or reference:
                raise TypeError(f"{cls.__qualname__}: a group has no keyword beside group_of")
            cls._join(group_of)
            return
        cls.whole = cls
        cls.name = name or cls.name or cls.__name__
        cls.key = key or cls.key
        cls.plural = plural or cls.plural or (kebab(cls.name) + ("s" if cls.key else ""))
        cls.listed_by = listed_by or cls.listed_by
        cls.levels = cls._levels(parent)
        if reference is not None:
            cls.reference = reference
        elif cls.reference is Reference:
            cls.reference = type(cls.name, (Reference,), {"kind": cls.name.lower()})

    def marks_of(self, object_id: str) -> Marks | None:  # noqa: ARG002 - for those that override it
        """Return what callers may be restricted by of one object; None if there is no object of this id.

        Called for each object of a list and for each event: it must not wait.

        :param object_id: of an object that lies in others, all its ids, as `object_path` joins them
        """
        return Marks()

    @classmethod
    def _join(cls, namespace: type[Namespace]) -> None:
        whole = cls.whole = namespace.whole
        cls.name, cls.key, cls.plural = whole.name, whole.key, whole.plural
        cls.listed_by, cls.levels, cls.reference = whole.listed_by, whole.levels, whole.reference

    @classmethod
    def _levels(cls, parent: type[Namespace] | str) -> tuple[Level, ...]:
        if not _SEGMENT.fullmatch(cls.plural):
            raise TypeError(f"{cls.__qualname__}: the plural '{cls.plural}' is no segment of a path")
        inherited = cls.levels[:-1], cls.levels[-1].parent if cls.levels else ""
        above, parent_name = (
            inherited
            if not parent
            else ((), parent)
            if isinstance(parent, str)
            else (parent.levels, parent.name)
        )
        if (parent_name and not cls.key) or not all(level.key for level in above):
            raise TypeError(
                f"{cls.__qualname__}: a namespace with a parent needs a key, and so does the parent"
            )
        if cls.key and cls.key in (level.key for level in above):
            raise TypeError(f"{cls.__qualname__}: a parent has the key '{cls.key}', too")
        return (*above, Level(cls.name, cls.key, cls.plural, parent_name))


def kebab(name: str) -> str:
    """Return a name as a segment of paths: `StorageDomain` -> `storage-domain`."""
    return _BETWEEN_WORDS.sub("-", name).lower()
