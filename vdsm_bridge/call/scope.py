"""The part of the API that a restricted caller is limited to: verbs by pattern, objects by id or tag."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from vdsm_core.roles import NamespaceName, VerbPattern

ObjectId = Annotated[str, Meta(pattern=r"^\S+$(?!\n)", max_length=256)]
#: One word: several tags of an object are separated by commas or blanks.
Tag = Annotated[str, Meta(pattern=r"^[^\s,]+$(?!\n)", max_length=128)]


class ObjectScope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The objects of one namespace: those with one of the ids, those that carry one of the tags, and with
    `own` those that the caller has created."""

    of: NamespaceName
    ids: tuple[ObjectId, ...] = ()
    tags: tuple[Tag, ...] = ()
    own: bool = False

    def names(self, object_id: str) -> bool:
        """Return whether the scope includes an object by its id, in whichever case it is spelled."""
        return object_id.lower() in (one.lower() for one in self.ids)


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a caller is limited to, below its role. An empty member restricts nothing."""

    verbs: tuple[VerbPattern, ...] = ()
    objects: tuple[ObjectScope, ...] = ()

    @property
    def limited(self) -> bool:
        """Whether it restricts anything."""
        return bool(self.verbs or self.objects)

    def permits(self, verb: str) -> bool:
        """Return whether one of the patterns matches the full name of a verb.

        :param verb: `VM.pause`
        """
        return not self.verbs or any(_expression(pattern).fullmatch(verb) for pattern in self.verbs)

    def describe(self) -> str:
        """Return the scope in one line for people."""
        if not self.limited:
            return "every verb, every object"
        parts = [f"verbs {', '.join(self.verbs)}"] if self.verbs else []
        for objects in self.objects:
            parts += [f"{objects.of} {object_id}" for object_id in objects.ids]
            parts += [f"{objects.of} tagged {tag}" for tag in objects.tags]
            parts += [f"{objects.of} of its own"] if objects.own else []
        return "; ".join(parts)


#: No restriction.
EVERYTHING = Scope()


def _expression(pattern: str) -> re.Pattern[str]:
    if pattern == "*":
        return re.compile(".*")
    # `re` keeps compiled expressions.
    return re.compile("[^.]*".join(map(re.escape, pattern.split("*"))))
