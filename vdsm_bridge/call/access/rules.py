"""The mapping of identities to roles: one notion for local users, groups, bus users and certificates.

Each table of `[access]` maps a name to a role. A caller has one or more names in one or two tables; each name
that is in its table is a grant, and the highest role of all grants is the caller's. Names are compared
exactly: no table has wildcards.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from vdsm_bridge.call.access import tokens
from vdsm_bridge.call.access.tokens import Signature
from vdsm_bridge.call.certificate import Certificate
from vdsm_bridge.call.context import ROLES, Identity, Role
from vdsm_bridge.call.scope import EVERYTHING, ObjectScope, Scope
from vdsm_core.config import AccessOptions, Config
from vdsm_core.deprecated import FORMATS
from vdsm_core.errors import ConfigError
from vdsm_core.roles import Granted

#: A hypervisor of this kind exists in the daemon only: control of it is control of nothing else.
_EMBEDDED: Final = "test:"
_EARLIER: Final = "role name sha256"
#: Characters that are escaped in a subject (RFC 4514, section 2.4).
_SPECIAL: Final = re.compile(r'[\\"+,;<>\0]')
#: What a rule may name a certificate by: a subject or a common name, or an alternative name of these types.
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9.-]*=.+|(?:DNS|URI|IP|email):.+")


class Rules(msgspec.Struct, frozen=True):
    """The options of `[access]`, and the identities of the token file by the digest of each token."""

    options: AccessOptions
    tokens: Mapping[str, Identity] = {}
    #: The file of tokens, and what it was when it was read.
    file: Path | None = None
    signature: Signature = None
    #: How many of its lines have the form of earlier releases.
    earlier: int = 0


class Grant(msgspec.Struct, frozen=True):
    """One rule that gives a caller a role: the name of the caller that it matches, and the rule in words."""

    role: Role
    name: str
    rule: str
    scope: Scope = EVERYTHING


class Known(msgspec.Struct, frozen=True):
    """A caller whose credentials are right, with the rules that give it a role; without one it has none."""

    name: str
    how: str
    grants: tuple[Grant, ...]
    uid: int | None = None

    @property
    def identity(self) -> Identity | None:
        """The identity with the highest of the roles; None without a role."""
        if not self.grants:
            return None
        return Identity(self.name, self.best.role, self.how, self.uid, self.best.scope)

    @property
    def best(self) -> Grant:
        """The grant of the highest role, of several one without limits, the first one of several."""
        return max(self.grants, key=lambda grant: (ROLES.index(grant.role), not grant.scope.limited))


def read_rules(
    options: AccessOptions, file: Path | None = None, origin: Mapping[str, str] | None = None
) -> Rules:
    """Check the rules and read the token file. The start, a reload and `config check` all use this.

    :param file: the token file that is used if `options` name none; it may be absent
    :param origin: the file that set an option, by dotted key, for errors
    :raises ConfigError: the token file cannot be used, or a rule for certificates cannot be meant
    """
    for name in options.certificates:
        _check_certificate_rule(name, (origin or {}).get(f"access.certificates.{name}", "(configuration)"))
    path = Path(options.tokens) if options.tokens else file
    if path is None:
        return Rules(options)
    found = tokens.read(path, required=bool(options.tokens))
    identities = {token.sha256: token.identity for token in found.tokens}
    return Rules(options, identities, path, found.signature, found.earlier)


def weaknesses(config: Config, rules: Rules) -> list[str]:
    """Return warnings about the configuration, a sentence each; the start and `config check` print them."""
    found = []
    loopback, uri = config.access.loopback, config.hypervisor.uri
    if loopback != "none" and not uri.startswith(_EMBEDDED):
        found.append(
            f"[access] loopback = \"{loopback}\": every local user has the role '{loopback}' on {uri}, "
            "without credentials. Remove the option; local users with a role use the unix socket"
        )
    if rules.earlier:
        found.append(
            f"{rules.file}: {rules.earlier} of its lines have the form `{_EARLIER}`. "
            f"{FORMATS[_EARLIER].notice}"
        )
    return found


def local_user(options: AccessOptions, uid: int, own_uid: int) -> Known | None:
    """Return what the rules say of a local user; None if the host has no such user.

    :param own_uid: the user that the daemon runs as
    """
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return None
    grants = [Grant("admin", user.pw_name, "root is always admin")] if uid == 0 else []
    if uid == own_uid and options.own_user != "none":
        grants.append(Grant(options.own_user, user.pw_name, f'[access] own_user = "{options.own_user}"'))
    grants += _named("users", options.users, [user.pw_name])
    groups = []
    # The account of a service may open its own socket: its group, which lets others in, gives it no role.
    shut = uid == own_uid and options.own_user == "none"
    for gid in () if shut else os.getgrouplist(user.pw_name, user.pw_gid):
        try:
            groups.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    grants += _named("groups", options.groups, groups)
    return Known(user.pw_name, "peer", tuple(grants), uid)


def bus_user(options: AccessOptions, name: str) -> Known:
    """Return what the rules say of a user whom a message broker has authenticated."""
    return Known(name, "bus", tuple(_named("bus_users", options.bus_users, [name])))


def certified(options: AccessOptions, names: Iterable[str]) -> Known:
    """Return what the rules say of the owner of a certificate, whose identity is the rule that gives the
    role.

    Two certificates with one common name may be two callers, and then have two rules; one that is renewed has
    the same rule.

    :param names: as `names_of` returns them
    """
    names = list(names)
    known = Known(
        (names or [""])[0], "certificate", tuple(_named("certificates", options.certificates, names))
    )
    return msgspec.structs.replace(known, name=known.best.name) if known.grants else known


def names_of(certificate: Certificate) -> list[str]:
    """Return what a rule may name a certificate by, the most exact name first.

    A common name with characters that a subject escapes is none of them: it could read like a whole subject.
    Such a certificate is named by its subject.
    """
    names = [certificate.subject] if certificate.subject else []
    if certificate.common_name and not _SPECIAL.search(certificate.common_name):
        names.append(f"CN={certificate.common_name}")
    for name in certificate.alternative_names:
        kind, _, value = name.partition(":")
        # Host names have no case (RFC 4343); every other name has.
        names.append(f"{kind}:{value.lower()}" if kind == "DNS" else name)
    return list(dict.fromkeys(names))


def _named(table: str, roles: Mapping[str, Granted], names: Iterable[str]) -> list[Grant]:
    """Return the grants of one table: the one mechanism of all of them."""
    return [_grant(table, name, roles[name]) for name in names if name in roles]


def _grant(table: str, name: str, given: Granted) -> Grant:
    if isinstance(given, str):
        return Grant(given, name, f'[access.{table}] "{name}" = "{given}"')
    scope = Scope(
        verbs=given.verbs, objects=tuple(ObjectScope(of=namespace, own=True) for namespace in given.own)
    )
    return Grant(
        given.role, name, f'[access.{table}] "{name}" = "{given.role}", limited to {scope.describe()}', scope
    )


def _check_certificate_rule(name: str, file: str) -> None:
    """Check that a rule can match a certificate.

    :param file: the file that has the rule

    :raises ConfigError: it cannot, or it looks like a pattern
    """
    reason = ""
    if "*" in name:
        reason = "names are compared exactly, and * stands for nothing: name each certificate"
    elif name.startswith("DNS:") and name != (lower := f"DNS:{name[4:].lower()}"):
        reason = f"host names are compared in lower case: write '{lower}'"
    elif not _NAME.fullmatch(name):
        reason = "expected a subject (CN=engine,O=Example), CN=, DNS:, URI:, IP: or email: with a value"
    if reason:
        raise ConfigError(file=file, key=f"access.certificates.{name}", reason=reason)
