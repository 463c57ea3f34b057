"""Who a caller is."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.api.collect import collect
from vdsm_bridge.call.access import Access, Credentials, read_rules, tokens
from vdsm_bridge.call.access.tokens import Token
from vdsm_bridge.call.context import INTERNAL, Identity
from vdsm_bridge.call.scope import Scope
from vdsm_bridge.testing.sample import Room
from vdsm_bridge.testing.tokens import TOKENS, write_tokens
from vdsm_core.config import AccessOptions
from vdsm_core.errors import ConfigError, Unauthenticated

VERB = collect(Room())[0]
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
        with pytest.raises(Unauthenticated, match="this address needs credentials"):
            rules.identify(Credentials(address=address))


def test_loopback_can_be_shut() -> None:
    """With `none` nobody comes in without credentials."""
    with pytest.raises(Unauthenticated):
        access(loopback="none").identify(Credentials(address=LOOPBACK))


def test_root_is_admin() -> None:
    """By the proof of the socket, whatever the tables say."""
    identity = access(users={"root": "monitor"}, groups={}, own_user="none").identify(Credentials(uid=0))
    assert identity == Identity("root", "admin", "peer", 0)


@pytest.mark.parametrize("role", ["none", "monitor", "admin"])
def test_the_daemons_own_user(monkeypatch: pytest.MonkeyPatch, role: Any) -> None:
    """It has the role of the option `own_user`; with none its groups, as that of the socket, give it none."""
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    groups = {grp.getgrgid(NOBODY.pw_gid).gr_name: "monitor"}
    rules, credentials = Access(AccessOptions(own_user=role, groups=groups)), Credentials(uid=NOBODY.pw_uid)
    if role == "none":
        with pytest.raises(Unauthenticated, match="user 'nobody' has no role on this host"):
            rules.identify(credentials)
    else:
        assert rules.identify(credentials) == Identity("nobody", role, "peer", NOBODY.pw_uid)


def test_the_default_of_own_user_goes_by_where_the_configuration_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """None for a service, whose folders are given; admin for a daemon that a user runs."""
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", "/etc/vdsm")
    assert AccessOptions().own_user == "none"
    monkeypatch.delenv("CONFIGURATION_DIRECTORY")
    assert AccessOptions().own_user == "admin"


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


class Wall:
    """A clock of the wall that the test moves."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def dated(tmp_path: Path, **members: Any) -> tuple[Access, Wall, Credentials]:
    """Rules with one token, and the token; the clock stands an hour before 2030."""
    file = tmp_path / "tokens"
    tokens.create(file, Token(**{"name": "joe", "role": "operator", "sha256": tokens.digest("s"), **members}))
    wall = Wall(NEW_YEAR.timestamp() - 3600)
    rules = Access(AccessOptions(tokens=str(file)), now=wall)
    rules.load()
    return rules, wall, Credentials(token="s")


NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_token_expires_at_its_time(tmp_path: Path) -> None:
    """It is valid until then, and not at that very moment; the error says when it was."""
    rules, wall, credentials = dated(tmp_path, expires=NEW_YEAR)
    wall.now = NEW_YEAR.timestamp() - 0.001
    identity = rules.identify(credentials)
    wall.now = NEW_YEAR.timestamp()
    with pytest.raises(Unauthenticated, match="'joe' expired at 2030-01-01T00:00:00Z"):
        rules.identify(credentials)
    with pytest.raises(Unauthenticated, match="expired"):
        rules.check(VERB, identity)


def test_a_stream_ends_when_its_token_expires(tmp_path: Path) -> None:
    """Though no rule has changed."""
    rules, wall, credentials = dated(tmp_path, expires=NEW_YEAR)
    holds = rules.standing(credentials, rules.identify(credentials))
    assert holds()
    wall.now = NEW_YEAR.timestamp()
    assert not holds()


def test_a_revoked_token_is_refused_at_the_next_call(tmp_path: Path) -> None:
    """Without a reload; what a binding remembers is of another revision, and a stream ends."""
    rules, _, credentials = dated(tmp_path)
    holds, revision = rules.standing(credentials, rules.identify(credentials)), rules.revision
    tokens.revoke(tmp_path / "tokens", "joe")
    assert not holds()
    assert rules.revision != revision
    with pytest.raises(Unauthenticated, match="not valid"):
        rules.identify(credentials)


@pytest.mark.parametrize("how", ["token", "bus", "certificate", "loopback", "peer"])
def test_a_call_that_has_waited_is_checked_again(tmp_path: Path, how: str) -> None:
    """Whoever has lost its role meanwhile, by whichever rule gave it, is refused; the daemon is not."""
    options = {
        "token": {},
        "bus": {"bus_users": {"joe": "monitor"}},
        "certificate": {"certificates": {"CN=joe": "monitor"}},
        "loopback": {"loopback": "monitor"},
        "peer": {"users": {"nobody": "monitor"}},
    }[how]
    name = {"certificate": "CN=joe", "peer": "nobody"}.get(how, "joe")
    identity = Identity(name, "monitor", how, NOBODY.pw_uid if how == "peer" else None)
    file = tmp_path / "tokens"
    tokens.create(file, Token(name="joe", role="monitor", sha256=tokens.digest("s")))
    rules = Access(AccessOptions(**options), file)
    rules.load()
    rules.check_again(VERB, identity)
    tokens.revoke(file, "joe")
    rules.use(read_rules(AccessOptions(), file))
    with pytest.raises(Unauthenticated, match="revoked or changed while the call waited"):
        rules.check_again(VERB, identity)
    rules.check_again(VERB, INTERNAL)


def test_a_renewed_token_lets_a_waiting_call_pass(tmp_path: Path) -> None:
    """The identity is the name, not the secret; other limits of that name do not count."""
    rules, wall, credentials = dated(tmp_path, expires=NEW_YEAR)
    identity = rules.identify(credentials)
    tokens.create(tmp_path / "tokens", Token(name="joe", role="operator", sha256=tokens.digest("new")))
    wall.now = NEW_YEAR.timestamp()
    rules.check_again(VERB, identity)
    tokens.revoke(tmp_path / "tokens", "joe")
    scope = Scope(verbs=("VM.*",))
    limited = Token(name="joe", role="operator", sha256=tokens.digest("new"), scope=scope)
    tokens.create(tmp_path / "tokens", limited)
    with pytest.raises(Unauthenticated):
        rules.check_again(VERB, identity)


def test_a_new_token_is_valid_at_the_next_call(tmp_path: Path) -> None:
    """Also where there was no file before, in the place where the daemon looks by default."""
    file = tmp_path / "tokens"
    rules = Access(AccessOptions(), file)
    rules.load()
    with pytest.raises(Unauthenticated):
        rules.identify(Credentials(token="s"))
    tokens.create(file, Token(name="joe", role="monitor", sha256=tokens.digest("s")))
    assert rules.identify(Credentials(token="s")).role == "monitor"


def test_a_stream_ends_when_its_limits_change(tmp_path: Path) -> None:
    """It was begun under other ones; the role alone does not say it."""
    rules, _, credentials = dated(tmp_path)
    holds = rules.standing(credentials, rules.identify(credentials))
    tokens.revoke(tmp_path / "tokens", "joe")
    limited = Scope(verbs=("VM.*",))
    tokens.create(
        tmp_path / "tokens", Token(name="joe", role="operator", sha256=tokens.digest("s"), scope=limited)
    )
    assert not holds()
    assert rules.identify(credentials).scope == limited


def test_a_file_that_cannot_be_used_keeps_the_tokens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An editor may be at work: the last ones are valid, and the log says once what is wrong."""
    rules, _, credentials = dated(tmp_path)
    (tmp_path / "tokens").write_text("king joe\n")
    for _ in range(3):
        assert rules.identify(credentials).name == "joe"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "line 1 is not a token" in caplog.text


def test_a_file_that_is_gone_has_no_tokens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever removes it means all of them."""
    rules, _, credentials = dated(tmp_path)
    (tmp_path / "tokens").unlink()
    with pytest.raises(Unauthenticated):
        rules.identify(credentials)
    assert "No such file" in caplog.text


def test_a_guess_is_looked_up_by_its_digest(tmp_path: Path) -> None:
    """Nothing compares the secret: a prefix of it, its digest, and a text that is no UTF-8 are just wrong."""
    rules, _, _ = dated(tmp_path, sha256=tokens.digest("secret"))
    for guess in ("secre", "secret ", tokens.digest("secret"), "\udcff", "x" * 100_000):
        with pytest.raises(Unauthenticated, match="the bearer token is not valid"):
            rules.identify(Credentials(token=guess))
