"""Roles of callers, and roles that are limited to a part of the API."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

#: Each role includes those before it.
Role = Literal["monitor", "operator", "admin"]
#: `VM.*`, `*.getStats`, `Host.getVM*`; `*` alone is every verb.
VerbPattern = Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9_*]+\.[A-Za-z0-9_*]+)$(?!\n)", max_length=128)]
#: The name of a namespace: `VM`.
NamespaceName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]+$(?!\n)", max_length=128)]


class LimitedRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role that is limited to some verbs, or to the objects that the caller has created itself."""

    #: The role, which the limits are below.
    role: Role
    #: Patterns of verbs, such as `VM.*`; empty: every verb.
    verbs: tuple[VerbPattern, ...] = ()
    #: Namespaces, such as `VM`, of which the caller may act on objects of its own only; empty: on all.
    own: tuple[NamespaceName, ...] = ()


#: What a table of `[access]` gives a name: a role, or `{ role = ..., verbs = [...], own = [...] }`.
Granted = Role | LimitedRole
