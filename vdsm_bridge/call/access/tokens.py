"""The file of bearer tokens: one token a line, only its SHA-256 digest, as JSON.

A token is 256 random bits, so its digest needs neither salt nor a slow hash, and it is found by a lookup of
the digest: the time of a lookup depends on the digest of what was sent, which its sender cannot steer.

Lines of earlier releases, `role name sha256`, are still read. Blank lines and comments (`#`) stay where they
are.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_bridge.call.context import ROLES, Identity, Role
from vdsm_bridge.call.scope import EVERYTHING, Scope
from vdsm_core.config import Config
from vdsm_core.errors import ConfigError, Conflict, NotFound
from vdsm_core.filelock import lock_exclusively
from vdsm_core.state import MEMORY

#: Name of the file in the state directory, where `[access] tokens` names no other.
FILE: Final = "tokens"
_EARLIER_LINE: Final = re.compile(rf"({'|'.join(ROLES)})\s+(\S+)\s+([0-9a-fA-F]{{64}})")
_KEY: Final = "access.tokens"
#: Seconds for which another process that changes the file is waited for.
_PATIENCE: Final = 10.0

Time = Annotated[datetime, Meta(tz=True)]
Name = Annotated[str, Meta(pattern=r"^\S+$(?!\n)")]

#: Identifies the content of a file: a file that was written anew has another one. None: there is no file.
Signature = tuple[int, ...] | None


class NoSuchToken(NotFound):
    """The file has no token of this id or name. Facts: `token`, `file`."""

    slug = "no-such-token"
    template = (
        "Cannot find a token '{token}' in {file}: neither an id nor a name; `vdsm-tool token list` shows both"
    )


class TokenNameTaken(Conflict):
    """A token of this name has another role or scope. Facts: `name`, `file`, `has`."""

    slug = "token-name-taken"
    template = (
        "Cannot create another token '{name}' in {file}: the one that exists has {has}, and a name is one "
        "identity. Choose another name, or revoke that token first"
    )


class TokenFileBusy(Conflict):
    """Another process changes the file of tokens. Facts: `file`."""

    slug = "token-file-busy"
    template = "Cannot change {file}: another process does so now. Try again"


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One token, by the digest of its secret."""

    name: Name
    role: Role
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    created: Time | UnsetType = UNSET
    expires: Time | UnsetType = UNSET
    scope: Scope = EVERYTHING

    @property
    def id(self) -> str:
        """The beginning of the digest, by which people name a token."""
        return self.sha256[:12]

    @property
    def identity(self) -> Identity:
        """Return the identity that the token gives to its bearer."""
        expires = 0.0 if isinstance(self.expires, UnsetType) else self.expires.timestamp()
        return Identity(self.name, self.role, "token", scope=self.scope, expires=expires)


class TokenFile(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a file of tokens. `lines` has what is not a token as it stands in the file."""

    path: Path
    lines: tuple[Token | str, ...] = ()
    #: How many lines have the form of earlier releases.
    earlier: int = 0
    signature: Signature = None

    @property
    def tokens(self) -> list[Token]:
        """The tokens in the order of the file."""
        return [line for line in self.lines if isinstance(line, Token)]


def path_of(config: Config) -> Path | None:
    """Return the file of tokens of a daemon; None for one whose state is in memory and that names no file."""
    if config.access.tokens:
        return Path(config.access.tokens)
    return None if config.daemon.state_dir == MEMORY else Path(config.daemon.state_dir) / FILE


def digest(token: str) -> str:
    """Return the digest of a token as the file has it."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def signature_of(path: Path) -> Signature:
    """Return the signature of a file as it is now."""
    try:
        return _signature(path.stat())
    except OSError:
        return None


def read(path: Path, *, required: bool) -> TokenFile:
    """Read a file of tokens.

    :param required: an absent file is an error, not an empty one
    :raises ConfigError: it cannot be read, others may read it, or a line is malformed
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except FileNotFoundError as error:
        if not required:
            return TokenFile(path=path)
        raise _bad(path, error.strerror or str(error)) from None
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from None
    if status.st_mode & 0o077:
        raise _bad(path, "the file must be readable by its owner only (chmod 600)")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _bad(path, "the file is not UTF-8 text") from None
    lines: list[Token | str] = []
    earlier = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            lines.append(line)
            continue
        earlier += not line.startswith("{")
        lines.append(_token(path, number, line.strip()))
    return TokenFile(path=path, lines=tuple(lines), earlier=earlier, signature=_signature(status))


def create(path: Path, token: Token) -> None:
    """Add a token to the file, which is made where absent.

    :raises TokenNameTaken: the name belongs to a token of another role or scope
    :raises TokenFileBusy: another process changes the file
    :raises ConfigError: the file cannot be read
    """

    def added(file: TokenFile) -> list[Token | str]:
        for other in file.tokens:
            if other.name == token.name and (other.role, other.scope) != (token.role, token.scope):
                has = f"the role '{other.role}' for {other.scope.describe()}"
                raise TokenNameTaken(name=token.name, file=str(path), has=has)
        return [*file.lines, token]

    _change(path, added)


def revoke(path: Path, which: str) -> list[Token]:
    """Remove the tokens of a name, or the one of an id; return them.

    :raises NoSuchToken: there is none
    :raises TokenFileBusy: another process changes the file
    :raises ConfigError: the file cannot be read
    """
    gone: list[Token] = []

    def without(file: TokenFile) -> list[Token | str]:
        gone.extend(one for one in file.tokens if which in (one.name, one.id))
        if not gone:
            raise NoSuchToken(token=which, file=str(path))
        return [line for line in file.lines if line not in gone]

    _change(path, without)
    return gone


def _token(path: Path, number: int, line: str) -> Token:
    if not line.startswith("{"):
        match = _EARLIER_LINE.fullmatch(line)
        if match is None:
            raise _bad(path, f"line {number} is not a token as `vdsm-tool token create` writes it")
        role, name, sha256 = match.groups()
        return Token(name=name, role=cast("Role", role), sha256=sha256.lower())
    try:
        return msgspec.json.decode(line, type=Token)
    except msgspec.DecodeError as error:
        raise _bad(path, f"line {number} is not a token: {error}") from None


def _change(path: Path, change: Callable[[TokenFile], list[Token | str]]) -> None:
    """Replace the file by what `change` makes of it: as a whole, or not at all."""
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        # root works in the folder of a daemon that may be another user: it must not be led elsewhere.
        raise _bad(path, "it is a link of another user")
    path = path.resolve()  # a link keeps its place
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(path):
        lines = change(read(path, required=False))
        text = "".join(
            (msgspec.json.encode(line).decode() if isinstance(line, Token) else line) + "\n" for line in lines
        )
        _replace(path, text.encode())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock: the file itself is replaced, so a lock of it would be worth nothing."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not lock_exclusively(folder, _PATIENCE):
            raise TokenFileBusy(file=str(path))
        yield
    finally:
        os.close(folder)


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _give_to_owner(descriptor, path)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        new.rename(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _give_to_owner(descriptor: int, path: Path) -> None:
    """Keep the owner of the file, or of its folder: root may write the tokens of another user's daemon."""
    owner = path.stat() if path.exists() else path.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _signature(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _bad(path: Path, reason: str) -> ConfigError:
    return ConfigError(file=str(path), key=_KEY, reason=reason)


def now() -> datetime:
    """Return the present time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
