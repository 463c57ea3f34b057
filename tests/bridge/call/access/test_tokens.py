"""The file of bearer tokens."""

from __future__ import annotations

import json
import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.call.access import tokens
from vdsm_bridge.call.access.tokens import NoSuchToken, Token, TokenNameTaken
from vdsm_bridge.call.scope import ObjectScope, Scope
from vdsm_core import config as configuration
from vdsm_core.errors import ConfigError
from vdsm_core.state import MEMORY

SCOPE = Scope(verbs=("VM.*",), objects=(ObjectScope(of="VM", ids=("a",), tags=("web",)),))


def token(secret: str = "s", **members: Any) -> Token:
    """A token."""
    return Token(**{"name": "joe", "role": "operator", "sha256": tokens.digest(secret), **members})


def read(path: Path) -> list[Token]:
    """The tokens of a file that must be there."""
    return tokens.read(path, required=True).tokens


def test_what_was_created_is_read(tmp_path: Path) -> None:
    """With its role, expiry and scope, in a file of its owner's; the secret is not in it."""
    path = tmp_path / "new" / "tokens"
    made = token("secret", created=tokens.now(), expires=datetime(2099, 1, 1, tzinfo=UTC), scope=SCOPE)
    tokens.create(path, made)
    tokens.create(path, token("other", name="ann"))
    assert read(path) == [made, token("other", name="ann")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "secret" not in path.read_text()
    assert [entry.name for entry in path.parent.iterdir()] == ["tokens"]


def test_a_name_is_one_identity(tmp_path: Path) -> None:
    """A second token of a name renews the first one: same role, same scope. Another one is refused."""
    path = tmp_path / "tokens"
    tokens.create(path, token("1", scope=SCOPE))
    tokens.create(path, token("2", scope=SCOPE))
    for other in (token("3"), token("3", role="admin", scope=SCOPE)):
        with pytest.raises(TokenNameTaken, match="has the role 'operator' for verbs VM"):
            tokens.create(path, other)
    assert len(read(path)) == 2


def test_revoking(tmp_path: Path) -> None:
    """By id one token goes, by name all of that name; comments and blank lines stay where they are."""
    path = tmp_path / "tokens"
    path.write_text("# engines\n\n")
    path.chmod(0o600)
    for secret, name in (("1", "joe"), ("2", "joe"), ("3", "ann")):
        tokens.create(path, token(secret, name=name))
    assert tokens.revoke(path, token("1").id) == [token("1")]
    assert tokens.revoke(path, "joe") == [token("2")]
    assert read(path) == [token("3", name="ann")]
    assert path.read_text().startswith("# engines\n\n{")
    with pytest.raises(NoSuchToken, match="'joe'"):
        tokens.revoke(path, "joe")


def test_lines_of_earlier_releases(tmp_path: Path) -> None:
    """They are tokens without expiry and limits, are counted, and are written anew with the next change."""
    path = tmp_path / "tokens"
    path.write_text(f"# old\noperator joe {tokens.digest('s').upper()}\n")
    path.chmod(0o600)
    found = tokens.read(path, required=True)
    assert (found.tokens, found.earlier) == ([token()], 1)
    tokens.create(path, token("2", name="ann"))
    assert tokens.read(path, required=True).earlier == 0
    assert read(path) == [token(), token("2", name="ann")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("admin joe abc", "line 1 is not a token as"),
        ("{", "line 1 is not a token: "),
        ({"role": "king"}, "line 1 is not a token: .*role"),
        ({"sha256": "ABC"}, "sha256"),
        ({"expires": "2030-01-01T00:00:00"}, "expires"),
        ({"restrict": ["more"]}, "unknown field `restrict`"),
        ({"scope": {"machines": ["a"]}}, "unknown field `machines`"),
        ({"scope": {"objects": [{"of": "VM", "labels": ["web"]}]}}, "unknown field `labels`"),
        ({"scope": {"verbs": ["VM"]}}, "verbs"),
        ({"scope": {"verbs": ["VM.[a-z]*"]}}, "verbs"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, line: Any, reason: str) -> None:
    """A limit that this release does not know is no limit that it may leave out."""
    if isinstance(line, dict):
        line = json.dumps({"name": "joe", "role": "admin", "sha256": tokens.digest("s"), **line})
    path = tmp_path / "tokens"
    path.write_text(line)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=reason):
        read(path)


def test_a_change_that_fails_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs neither the tokens nor leaves a second file."""
    path = tmp_path / "tokens"
    tokens.create(path, token())
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        tokens.create(path, token("2"))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_changes_side_by_side(tmp_path: Path) -> None:
    """None is lost."""
    path = tmp_path / "tokens"
    names = [f"n{number}" for number in range(8)]
    threads = [threading.Thread(target=tokens.create, args=(path, token(name, name=name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.name for one in read(path)) == names


def test_a_link_keeps_its_place(tmp_path: Path) -> None:
    """The file behind it is replaced."""
    path, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(path)
    tokens.create(link, token())
    assert link.is_symlink()
    assert read(path) == [token()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    """The user of the daemon cannot make root write elsewhere."""
    link = tmp_path / "tokens"
    link.symlink_to(tmp_path / "elsewhere")
    os.lchown(link, 4711, 4712)
    for change in (lambda: tokens.create(link, token()), lambda: tokens.revoke(link, "joe")):
        with pytest.raises(ConfigError, match="a link of another user"):
            change()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_writes_the_file_of_the_daemons_user(tmp_path: Path) -> None:
    """A new one belongs to the owner of the folder, a changed one to the one it had."""
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 4711, 4712)
    tokens.create(folder / "tokens", token())
    assert (folder / "tokens").stat().st_uid == 4711
    os.chown(folder, 0, 0)
    tokens.create(folder / "tokens", token("2"))
    assert ((folder / "tokens").stat().st_uid, (folder / "tokens").stat().st_gid) == (4711, 4712)


def test_where_the_file_is() -> None:
    """In the folder of the state, unless the configuration names it; nowhere if the state is in memory."""

    def path_of(**tables: Any) -> Path | None:
        return tokens.path_of(configuration.merge([("test", tables)]))

    assert path_of(daemon={"state_dir": "/s"}) == Path("/s/tokens")
    assert path_of(daemon={"state_dir": "/s"}, access={"tokens": "/t"}) == Path("/t")
    assert path_of(daemon={"state_dir": MEMORY}) is None
