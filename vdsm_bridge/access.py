"""Who a caller is, and what it may do. Bindings gather the proof; the decision is made here, once."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
from pathlib import Path
from typing import Final, cast

import msgspec

from vdsm_bridge.addresses import is_loopback
from vdsm_bridge.context import ROLES, Identity, Role
from vdsm_bridge.verb import Verb, access_level
from vdsm_core.config import AccessOptions
from vdsm_core.errors import ConfigError, Forbidden, Unauthenticated

_TOKEN_LINE: Final = re.compile(rf"({'|'.join(ROLES)})\s+(\S+)\s+([0-9a-fA-F]{{64}})")


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a binding knows of a caller: the peer's user id on a unix socket, an address, a bearer token,
    the name of a user whom the message broker in between has authenticated."""

    address: str = ""
    uid: int | None = None
    token: str = ""
    bus_user: str = ""


class Access:
    """The rules of `[access]` in the configuration."""

    def __init__(self, options: AccessOptions) -> None:
        self._options = options
        self._tokens: dict[bytes, Identity] = {}

    def load(self) -> None:
        """Read the token file, if one is configured.

        :raises ConfigError: it cannot be read, others may read it, or a line is malformed
        """
        if not self._options.tokens:
            return
        path = Path(self._options.tokens)
        try:
            mode = path.stat().st_mode
            lines = path.read_text("utf-8").splitlines()
        except OSError as error:
            raise self._bad_tokens(error.strerror or str(error)) from None
        if mode & 0o077:
            raise self._bad_tokens("the file must be readable by its owner only (chmod 600)")
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                role, name, digest = self._token_line(line, number)
                self._tokens[digest] = Identity(name, role, "token")

    def identify(self, proof: Proof) -> Identity:
        """Who the caller is: by its token, else by its unix or bus user, else as an unknown on loopback.

        :raises Unauthenticated: the proof is wrong, or does not suffice
        """
        if proof.token:
            identity = self._tokens.get(hashlib.sha256(proof.token.encode()).digest())
            if identity is None:
                raise Unauthenticated(reason="the bearer token is not valid")
            return identity
        if proof.uid is not None:
            return self._local_user(proof.uid)
        if proof.bus_user:
            return self._bus_user(proof.bus_user)
        role = self._options.loopback
        if role != "none" and is_loopback(proof.address):
            return Identity("loopback", role, "loopback")
        raise Unauthenticated(reason="credentials are needed here")

    @staticmethod
    def check(verb: Verb, identity: Identity) -> None:
        """Let the call pass.

        :raises Forbidden: the verb needs a higher role
        """
        if identity.level < access_level(verb.access):
            raise Forbidden(verb=verb.name, identity=identity.name, needed=verb.access)

    def _local_user(self, uid: int) -> Identity:
        try:
            user = pwd.getpwuid(uid)
        except KeyError:
            raise Unauthenticated(reason=f"user id {uid} is unknown on this host") from None
        if uid in (0, os.geteuid()):
            return Identity(user.pw_name, "admin", "peer")
        roles = [self._options.users[user.pw_name]] if user.pw_name in self._options.users else []
        for gid in os.getgrouplist(user.pw_name, user.pw_gid):
            try:
                group = grp.getgrgid(gid).gr_name
            except KeyError:
                continue
            if group in self._options.groups:
                roles.append(self._options.groups[group])
        if not roles:
            raise Unauthenticated(reason=f"user '{user.pw_name}' has no role on this host")
        return Identity(user.pw_name, max(roles, key=ROLES.index), "peer")

    def _bus_user(self, name: str) -> Identity:
        role = self._options.bus_users.get(name)
        if role is None:
            raise Unauthenticated(reason=f"the bus user '{name}' has no role on this host")
        return Identity(name, role, "bus")

    def _token_line(self, line: str, number: int) -> tuple[Role, str, bytes]:
        match = _TOKEN_LINE.fullmatch(line.strip())
        if match is None:
            raise self._bad_tokens(f"line {number} is not `role name sha256-of-token-in-hex`")
        role, name, digest = match.groups()
        return cast("Role", role), name, bytes.fromhex(digest)

    def _bad_tokens(self, reason: str) -> ConfigError:
        return ConfigError(file=self._options.tokens, key="access.tokens", reason=reason)
