"""Who a caller is, and what it may do. Bindings gather the credentials; the decision is made here, once."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

import msgspec

from vdsm_bridge.api.declare import Verb, access_level
from vdsm_bridge.call.addresses import is_loopback
from vdsm_bridge.call.context import ROLES, Identity, Role
from vdsm_core.config import AccessOptions
from vdsm_core.errors import ConfigError, Forbidden, Unauthenticated

_TOKEN_LINE: Final = re.compile(rf"({'|'.join(ROLES)})\s+(\S+)\s+([0-9a-fA-F]{{64}})")


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a binding knows of a caller: the peer's user id on a unix socket, an address, a bearer token,
    the name of a user whom the message broker in between has authenticated.

    `peer_uid` is the owner of the peer's socket on loopback TCP (`vdsm_bridge.owner_uid`). It is
    written to the audit log and grants nothing.
    """

    address: str = ""
    uid: int | None = None
    token: str = ""
    bus_user: str = ""
    peer_uid: int | None = None


class Rules(msgspec.Struct, frozen=True):
    """The options of `[access]`, and the identities of the token file by the digest of each token."""

    options: AccessOptions
    tokens: Mapping[bytes, Identity]


def read_rules(options: AccessOptions) -> Rules:
    """Read the token file, if one is configured. The start, a reload and `config check` all use this.

    :raises ConfigError: it cannot be read, others may read it, or a line is malformed
    """
    tokens: dict[bytes, Identity] = {}
    if not options.tokens:
        return Rules(options, tokens)
    path = Path(options.tokens)
    try:
        mode = path.stat().st_mode
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise _bad_tokens(options, error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise _bad_tokens(options, "the file is not UTF-8 text") from None
    if mode & 0o077:
        raise _bad_tokens(options, "the file must be readable by its owner only (chmod 600)")
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            match = _TOKEN_LINE.fullmatch(line.strip())
            if match is None:
                raise _bad_tokens(options, f"line {number} is not `role name sha256-of-token-in-hex`")
            role, name, digest = match.groups()
            tokens[bytes.fromhex(digest)] = Identity(name, cast("Role", role), "token")
    return Rules(options, tokens)


def _bad_tokens(options: AccessOptions, reason: str) -> ConfigError:
    return ConfigError(file=options.tokens, key="access.tokens", reason=reason)


class Access:
    """The rules of `[access]` in force. They are replaced as a whole, and each replacement is a revision."""

    def __init__(self, options: AccessOptions) -> None:
        self._rules = Rules(options, {})
        self._revision = 0

    @property
    def revision(self) -> int:
        """Changes with the rules. An identity that a binding remembers is valid for one revision."""
        return self._revision

    def load(self) -> None:
        """Read the token file, if one is configured.

        :raises ConfigError: see `read_rules`
        """
        self.use(read_rules(self._rules.options))

    def use(self, rules: Rules) -> None:
        """Replace the rules, for every call from now on."""
        self._rules = rules
        self._revision += 1

    def standing(self, credentials: Credentials, identity: Identity) -> Callable[[], bool]:
        """Return a function that tells whether a caller still has the role it was let in with.

        For streams, which outlive the request that opened them. Costs a comparison until the rules change.
        """
        checked = self._revision

        def holds() -> bool:
            nonlocal checked
            revision = self._revision
            if revision != checked:
                try:
                    if self.identify(credentials).level < identity.level:
                        return False
                except Unauthenticated:
                    return False
                checked = revision
            return True

        return holds

    def identify(self, credentials: Credentials) -> Identity:
        """Who the caller is: by its token, else by its unix or bus user, else as an unknown on loopback.

        :raises Unauthenticated: the credentials are wrong, or do not suffice
        """
        rules = self._rules
        if credentials.token:
            identity = rules.tokens.get(hashlib.sha256(credentials.token.encode()).digest())
            if identity is None:
                raise Unauthenticated(reason="the bearer token is not valid")
            uid = credentials.peer_uid if credentials.uid is None else credentials.uid
            return identity if uid is None else msgspec.structs.replace(identity, uid=uid)
        if credentials.uid is not None:
            return _local_user(rules.options, credentials.uid)
        if credentials.bus_user:
            return _bus_user(rules.options, credentials.bus_user)
        role = rules.options.loopback
        if role != "none" and is_loopback(credentials.address):
            return Identity("loopback", role, "loopback", credentials.peer_uid)
        raise Unauthenticated(
            reason="credentials are needed here: a bearer token, or a user with a role on the unix socket"
        )

    @staticmethod
    def check(verb: Verb, identity: Identity) -> None:
        """Let the call pass.

        :raises Forbidden: the verb needs a higher role
        """
        if identity.level < access_level(verb.access):
            raise Forbidden(verb=verb.name, identity=identity.name, needed=verb.access)


def _local_user(options: AccessOptions, uid: int) -> Identity:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        raise Unauthenticated(reason=f"user id {uid} is unknown on this host") from None
    if uid in (0, os.geteuid()):
        return Identity(user.pw_name, "admin", "peer", uid)
    roles = [options.users[user.pw_name]] if user.pw_name in options.users else []
    for gid in os.getgrouplist(user.pw_name, user.pw_gid):
        try:
            group = grp.getgrgid(gid).gr_name
        except KeyError:
            continue
        if group in options.groups:
            roles.append(options.groups[group])
    if not roles:
        raise Unauthenticated(reason=f"user '{user.pw_name}' has no role on this host")
    return Identity(user.pw_name, max(roles, key=ROLES.index), "peer", uid)


def _bus_user(options: AccessOptions, name: str) -> Identity:
    role = options.bus_users.get(name)
    if role is None:
        raise Unauthenticated(reason=f"the bus user '{name}' has no role on this host")
    return Identity(name, role, "bus")
