"""Authentication and authorization of callers by the present rules of `[access]`."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Final

import msgspec

from vdsm_bridge.api.verb import Verb, access_level
from vdsm_bridge.call.access import rules as mapping
from vdsm_bridge.call.access import tokens
from vdsm_bridge.call.access.credentials import Credentials
from vdsm_bridge.call.access.rules import Known, Rules, read_rules
from vdsm_bridge.call.addresses import is_loopback
from vdsm_bridge.call.context import Identity
from vdsm_core.config import AccessOptions
from vdsm_core.errors import ConfigError, Forbidden, Unauthenticated

log = logging.getLogger(__name__)

_NEEDED: Final = (
    "this address needs credentials: a bearer token, a client certificate, "
    "or a user with a role on the unix socket"
)


class Access:
    """The present rules of `[access]`. They are replaced as a whole, and each replacement is a revision.

    A token file that has changed is read again at the next call, so that a revoked token is refused at once.

    :param file: the token file that is used if the options name none; it may be absent
    :param now: the clock of expiry, Unix time in seconds
    """

    def __init__(
        self, options: AccessOptions, file: Path | None = None, *, now: Callable[[], float] = time.time
    ) -> None:
        self._rules = Rules(options)
        self._file = file
        self._now = now
        self._revision = 0
        self._lock = threading.Lock()

    @property
    def revision(self) -> int:
        """Changes with the rules. An identity that a binding remembers is valid for one revision."""
        self._refresh()
        return self._revision

    def load(self) -> None:
        """Read the token file, if there is one.

        :raises ConfigError: see `read_rules`
        """
        self.use(read_rules(self._rules.options, self._file))

    def use(self, rules: Rules) -> None:
        """Replace the rules for all later calls."""
        with self._lock:
            self._rules = rules
            self._revision += 1

    def standing(self, credentials: Credentials, identity: Identity) -> Callable[[], bool]:
        """Return a predicate: whether a caller still has the rights that it was admitted with.

        For streams, which outlive the request that opened them. It costs a look at the token file.
        """
        checked = self.revision

        def holds() -> bool:
            nonlocal checked
            if identity.expired(self._now()):
                return False
            revision = self.revision
            if revision != checked:
                try:
                    present = self.identify(credentials)
                except Unauthenticated:
                    return False
                if present.level < identity.level or present.scope != identity.scope:
                    return False
                checked = revision
            return True

        return holds

    def identify(self, credentials: Credentials) -> Identity:
        """Identify a caller: by its token, else by its unix or bus user or its certificate,
        else as an unknown caller on loopback.

        :raises Unauthenticated: the credentials are wrong, or do not suffice
        """
        if credentials.token:
            return self._by_token(credentials)
        options = self._rules.options
        if credentials.uid is not None:
            known = mapping.local_user(options, credentials.uid, os.geteuid())
            if known is None:
                raise Unauthenticated(reason=f"user id {credentials.uid} is unknown on this host")
            return _with_role(known, f"user '{known.name}'")
        if credentials.bus_user:
            return _with_role(
                mapping.bus_user(options, credentials.bus_user), f"the bus user '{credentials.bus_user}'"
            )
        certificate = credentials.certificate
        if certificate is not None:
            identity = mapping.certified(options, mapping.names_of(certificate)).identity
            if identity is not None:
                return msgspec.structs.replace(identity, uid=credentials.peer_uid)
        if options.loopback != "none" and is_loopback(credentials.address):
            return Identity("loopback", options.loopback, "loopback", credentials.peer_uid)
        if certificate is not None:
            raise Unauthenticated(reason=f"the certificate of '{certificate.name}' has no role on this host")
        raise Unauthenticated(reason=_NEEDED)

    def check(self, verb: Verb, identity: Identity) -> None:
        """Check that a caller may call a verb.

        :raises Unauthenticated: the credentials have expired since the caller was identified
        :raises Forbidden: the verb needs a higher role
        """
        if identity.expires and identity.expired(self._now()):
            raise _expired(identity)
        if identity.level < access_level(verb.access):
            raise Forbidden(verb=verb.name, identity=identity.name, needed=verb.access)

    def check_again(self, verb: Verb, identity: Identity) -> None:
        """Check a call that has waited: its caller may have lost its rights meanwhile.

        :raises Unauthenticated: no credentials give the identity what it had
        :raises Forbidden: they give it a role that does not suffice
        """
        self._refresh()
        present = self._present(identity)
        if present is None or present.scope != identity.scope:
            reason = f"the credentials of '{identity.name}' were revoked or changed while the call waited"
            raise Unauthenticated(reason=reason)
        self.check(verb, present)

    def _present(self, identity: Identity) -> Identity | None:
        """Return what the rules in force make of an identity; None if it has no role any more."""
        options, name = self._rules.options, identity.name
        if identity.how == "token":
            same = [each for each in self._rules.tokens.values() if each.name == name]
            return max(
                same,
                key=lambda each: (each.scope == identity.scope, each.level, each.expires or inf),
                default=None,
            )
        if identity.how == "peer" and identity.uid is not None:
            known = mapping.local_user(options, identity.uid, os.geteuid())
            return None if known is None else known.identity
        if identity.how == "bus":
            return mapping.bus_user(options, name).identity
        if identity.how == "certificate":
            return mapping.certified(options, [name]).identity
        if identity.how == "loopback":
            return None if options.loopback == "none" else Identity(name, options.loopback, "loopback")
        return identity

    def _by_token(self, credentials: Credentials) -> Identity:
        self._refresh()
        identity = self._rules.tokens.get(tokens.digest(credentials.token))
        if identity is None:
            raise Unauthenticated(reason="the bearer token is not valid")
        if identity.expired(self._now()):
            raise _expired(identity)
        uid = credentials.peer_uid if credentials.uid is None else credentials.uid
        return identity if uid is None else msgspec.structs.replace(identity, uid=uid)

    def _refresh(self) -> None:
        """Read the token file again if it is another one than before.

        A file that is gone has no valid token. One that cannot be used is reported once, and the tokens that
        were read last stay valid: an editor may be at work on it.
        """
        rules = self._rules
        if rules.file is None or tokens.signature_of(rules.file) == rules.signature:
            return
        with self._lock:
            rules = self._rules
            if rules.file is None or (signature := tokens.signature_of(rules.file)) == rules.signature:
                return
            try:
                renewed = read_rules(rules.options, rules.file)
            except ConfigError as error:
                log.error("The file of tokens was changed and cannot be used: %s", error)  # noqa: TRY400
                kept = {} if signature is None else rules.tokens
                renewed = msgspec.structs.replace(rules, tokens=kept, signature=signature)
            else:
                log.info("The file of tokens was changed: %d tokens", len(renewed.tokens))
            self._rules = renewed
            self._revision += 1


def _with_role(known: Known, who: str) -> Identity:
    identity = known.identity
    if identity is None:
        raise Unauthenticated(reason=f"{who} has no role on this host")
    return identity


def _expired(identity: Identity) -> Unauthenticated:
    when = datetime.fromtimestamp(identity.expires, UTC).isoformat().replace("+00:00", "Z")
    return Unauthenticated(reason=f"the bearer token '{identity.name}' expired at {when}")
