"""What a namespace reports of one of its objects, for callers that are restricted to some objects."""

from __future__ import annotations

from urllib.parse import quote

import msgspec


class Marks(msgspec.Struct, frozen=True):
    """The tags that an object carries, and the object that it is part of: namespace and id.

    `creator` is the caller whose own object it is (`Identity.key`), if it is one's.
    """

    tags: frozenset[str] = frozenset()
    parent: tuple[str, str] | None = None
    creator: str = ""


def object_path(*ids: str) -> str:
    """Return one text for an object: its id, or for an object that lies in others all ids with slashes.

    Several ids are escaped as in paths (RFC 3986), so that no two objects have the same text.

    :param ids: those of the parents, the outermost first, then its own
    """
    return ids[0] if len(ids) == 1 else "/".join(quote(one, safe="") for one in ids)
