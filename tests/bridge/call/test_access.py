"""Who a caller is."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.call.access import Access, Credentials
from vdsm_bridge.call.context import Identity
from vdsm_bridge.testing.tokens import TOKENS, write_tokens
from vdsm_core.config import AccessOptions
from vdsm_core.errors import ConfigError, Unauthenticated

LOOPBACK = "127.0.0.1"


def access(**options: Any) -> Access:
    """Loaded rules."""
    made = Access(AccessOptions(**options))
    made.load()
    return made


@pytest.mark.parametrize("role", TOKENS)
def test_tokens(tmp_path: Path, role: str) -> None:
    """A token has the name and the role of its line, wherever its caller is."""
    rules = access(tokens=str(write_tokens(tmp_path)), loopback="none")
    for address in ("", LOOPBACK, "192.0.2.1"):
        identity = rules.identify(Credentials(token=TOKENS[role], address=address))
        assert identity == Identity(role, role, "token")  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["", "x", hashlib.sha256(TOKENS["admin"].encode()).hexdigest()])
def test_wrong_tokens(tmp_path: Path, token: str) -> None:
    """Not the digest either; a wrong token is not made good by the address or by the user."""
    rules = access(tokens=str(write_tokens(tmp_path)))
    with pytest.raises(Unauthenticated):
        rules.identify(Credentials(token=token or "y", address=LOOPBACK, uid=0))


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::1%lo", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_callers_without_credentials(address: str, known: bool) -> None:
    """They are let in on loopback only, with the role of the configuration."""
    rules = access(loopback="operator")
    if known:
        assert rules.identify(Credentials(address=address)) == Identity("loopback", "operator", "loopback")
    else:
        with pytest.raises(Unauthenticated, match="credentials are needed here"):
            rules.identify(Credentials(address=address))


def test_loopback_can_be_shut() -> None:
    """With `none` nobody comes in without credentials."""
    with pytest.raises(Unauthenticated):
        access(loopback="none").identify(Credentials(address=LOOPBACK))


@pytest.mark.parametrize("uid", sorted({0, os.geteuid()}))
def test_root_and_the_daemons_own_user_are_admin(uid: int) -> None:
    """By the proof of the socket, with their own names."""
    identity = access(users={}, groups={}).identify(Credentials(uid=uid))
    assert identity == Identity(pwd.getpwuid(uid).pw_name, "admin", "peer", uid)


NOBODY = pwd.getpwnam("nobody")


@pytest.mark.parametrize(
    ("users", "groups", "role"),
    [
        ({"nobody": "monitor"}, {}, "monitor"),
        ({}, {grp.getgrgid(NOBODY.pw_gid).gr_name: "operator"}, "operator"),
        ({"nobody": "monitor"}, {grp.getgrgid(NOBODY.pw_gid).gr_name: "operator"}, "operator"),
        ({"nobody": "admin"}, {grp.getgrgid(NOBODY.pw_gid).gr_name: "monitor"}, "admin"),
    ],
)
def test_local_users(users: dict[str, Any], groups: dict[str, Any], role: str) -> None:
    """A user has the highest of the roles that its name and its groups have."""
    identity = access(users=users, groups=groups).identify(Credentials(uid=NOBODY.pw_uid))
    assert (identity.name, identity.role) == ("nobody", role)


def test_local_users_without_a_role() -> None:
    """They are refused by name; an unknown user id is refused by number."""
    with pytest.raises(Unauthenticated, match="user 'nobody' has no role on this host"):
        access().identify(Credentials(uid=NOBODY.pw_uid))
    with pytest.raises(Unauthenticated, match="user id 4000000 is unknown"):
        access().identify(Credentials(uid=4_000_000))


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("admin joe abc\n", 0o600, "line 1 is not"),
        ("# fine\n\nking joe " + "0" * 64, 0o600, "line 3 is not"),
        ("", 0o640, "readable by its owner only"),
        (None, 0o600, "No such file"),
    ],
)
def test_bad_token_files(tmp_path: Path, text: str | None, mode: int, said: str) -> None:
    """A token file that cannot be trusted or read stops the start, and the error names it."""
    file = tmp_path / "tokens"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    with pytest.raises(ConfigError, match=said) as caught:
        access(tokens=str(file))
    assert str(caught.value).startswith(f"{file}: access.tokens: ")


def test_bus_users_have_the_roles_of_the_configuration() -> None:
    """A user whom the broker has authenticated is known by name only, and nobody else on the bus is."""
    rules = access(bus_users={"engine": "operator"}, loopback="none")
    assert rules.identify(Credentials(bus_user="engine")) == Identity("engine", "operator", "bus")
    with pytest.raises(Unauthenticated, match="the bus user 'root' has no role on this host"):
        rules.identify(Credentials(bus_user="root"))
