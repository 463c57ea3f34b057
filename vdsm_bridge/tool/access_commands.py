"""`vdsm-tool token ...` and `vdsm-tool can-i`: the tokens of a host, and who may call what."""

from __future__ import annotations

import argparse
import os
import pwd
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, cast

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_bridge.call.access import explain, tokens
from vdsm_bridge.call.access.rules import read_rules
from vdsm_bridge.call.access.tokens import Token
from vdsm_bridge.call.context import ROLES, Role
from vdsm_bridge.call.scope import Scope
from vdsm_bridge.tool import installed
from vdsm_bridge.tool.console import DONE, FAILED, Commands, print_error, print_line
from vdsm_core import config as configuration
from vdsm_core.config import Config
from vdsm_core.errors import ConfigError, NoSuchVerb

_DURATION: Final = re.compile(r"(\d{1,5})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_NEVER: Final = "never"


def add(commands: Commands[argparse.ArgumentParser], file: argparse.ArgumentParser) -> None:
    """Add the commands to the parser.

    :param file: the parent that has `--config`
    """
    token = commands.add_parser("token", help="create, list and revoke bearer tokens")
    words = token.add_subparsers(required=True, metavar="COMMAND")
    create = words.add_parser("create", help="create a token, and print it this once", parents=[file])
    create.add_argument("name", metavar="NAME", type=_word, help="the identity that it stands for")
    create.add_argument("role", metavar="ROLE", choices=ROLES, help=", ".join(ROLES))
    create.add_argument(
        "--expires",
        metavar="WHEN",
        type=_time,
        default=UNSET,
        help="in 30m, 12h or 90d; or a date or time in UTC, 2030-12-31; never is the default",
    )
    create.add_argument(
        "--verb",
        metavar="PATTERN",
        action="append",
        default=[],
        help="limit it to these verbs, as 'VM.*' or 'Host.getVMList'; may be repeated",
    )
    create.add_argument(
        "--object",
        metavar="NAMESPACE=ID",
        action="append",
        default=[],
        type=_pair,
        help="limit it to objects of this id, as VM=0f1c...; may be repeated",
    )
    create.add_argument(
        "--tag",
        metavar="NAMESPACE=TAG",
        action="append",
        default=[],
        type=_pair,
        help="limit it to objects that carry this tag, as VM=web; may be repeated",
    )
    create.add_argument(
        "--own",
        metavar="NAMESPACE",
        action="append",
        default=[],
        help="limit it to objects of this namespace that it creates itself, as VM; may be repeated",
    )
    create.set_defaults(run=_create)
    listed = words.add_parser("list", help="the tokens, without their secrets", parents=[file])
    listed.set_defaults(run=_list)
    revoke = words.add_parser(
        "revoke", help="revoke a token; the daemon refuses it from its next call on", parents=[file]
    )
    revoke.add_argument("token", metavar="ID-OR-NAME", help="an id as `token list` has it, or all of a name")
    revoke.set_defaults(run=_revoke)
    _add_can_i(commands, file)


def _add_can_i(commands: Commands[argparse.ArgumentParser], file: argparse.ArgumentParser) -> None:
    can_i = commands.add_parser("can-i", help="whether a caller may call a verb, and why", parents=[file])
    can_i.add_argument("verb", metavar="VERB", help="its full name, as VM.pause")
    can_i.add_argument(
        "--as",
        dest="who",
        metavar="WHO",
        default="",
        help="user:NAME, token:NAME, bus:NAME, certificate:NAME (as in [access.certificates]), or loopback; "
        "default: the user who asks",
    )
    can_i.add_argument("--role", choices=ROLES, default="", help="as if the caller had this role")
    can_i.add_argument(
        "--object", metavar="ID", default="", help="the id of the object that the call is about"
    )
    can_i.set_defaults(run=_can_i)


def _word(text: str) -> str:
    if not text or text.split() != [text]:
        raise argparse.ArgumentTypeError("a name is one word")
    return text


def _pair(text: str) -> tuple[str, str]:
    namespace, _, value = text.partition("=")
    if not namespace or not value:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAMESPACE=VALUE, as VM=web")
    return namespace, value


def _time(text: str) -> datetime | UnsetType:
    if text == _NEVER:
        return UNSET
    if match := _DURATION.fullmatch(text):
        return tokens.now() + timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no time: 30m, 12h, 90d, 2030-12-31, 2030-12-31T12:00 (UTC), or never"
        ) from None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    if when <= tokens.now():
        raise argparse.ArgumentTypeError(f"'{text}' is over already")
    return when


def _create(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    scope = _scope(options.verb, options.object, options.tag, options.own)
    found = installed.read(config)
    for line in explain.doubts(scope, found.verbs):
        print_error(line)
    secret = secrets.token_urlsafe(32)
    token = Token(
        name=options.name,
        role=cast("Role", options.role),
        sha256=tokens.digest(secret),
        created=tokens.now(),
        expires=options.expires,
        scope=scope,
    )
    path = _file(config)
    tokens.create(path, token)
    print_error(f"added token {token.id} to {path}; the secret is shown only now")
    print_line(secret)
    return DONE


def _list(options: argparse.Namespace) -> int:
    path = _file(configuration.load(options.config))
    now = tokens.now()
    rows = [("ID", "NAME", "ROLE", "EXPIRES", "LIMITED TO")]
    for token in tokens.read(path, required=False).tokens:
        limits = token.scope.describe() if token.scope.limited else "-"
        rows.append((token.id, token.name, token.role, _expiry(token, now), limits))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return DONE


def _revoke(options: argparse.Namespace) -> int:
    path = _file(configuration.load(options.config))
    for token in tokens.revoke(path, options.token):
        print_line(f"revoked {token.id} ({token.name}, {token.role})")
    return DONE


def _can_i(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    found = installed.read(config)
    verb = found.verbs.get(options.verb)
    if verb is None:
        raise NoSuchVerb(verb=options.verb)
    rules = read_rules(config.access, tokens.path_of(config), config.origin)
    who = options.who or f"user:{pwd.getpwuid(os.geteuid()).pw_name}"
    if options.role and not options.who:
        who = explain.ANYBODY
    caller = explain.caller(rules, who, own_uid=_daemons_uid(config), role=cast("Role", options.role) or None)
    answer = explain.judge(verb, caller, options.object)
    print_line({True: "yes", False: "no", None: "it depends"}[answer.allowed])
    for reason in (*caller.reasons, *answer.reasons):
        print_line(f"  {reason}")
    return DONE if answer.allowed else FAILED


def _scope(
    verbs: Sequence[str],
    objects: Sequence[tuple[str, str]],
    tags: Sequence[tuple[str, str]],
    own: Sequence[str],
) -> Scope:
    """Return the scope that the options describe.

    :raises ConfigError: a pattern, an id or a tag is not one
    """
    namespaces = dict.fromkeys([*(name for name, _ in objects), *(name for name, _ in tags), *own])
    described = {
        "verbs": list(verbs),
        "objects": [
            {
                "of": name,
                "ids": [value.lower() for of, value in objects if of == name],
                "tags": [value for of, value in tags if of == name],
                "own": name in own,
            }
            for name in namespaces
        ],
    }
    try:
        return msgspec.convert(described, Scope)
    except msgspec.ValidationError as error:
        raise ConfigError(file="vdsm-tool", key="token create", reason=str(error)) from None


def _file(config: Config) -> Path:
    path = tokens.path_of(config)
    if path is None:
        raise ConfigError(
            file="(defaults)",
            key="access.tokens",
            reason="the state is in memory only: name a file of tokens",
        )
    return path


def _expiry(token: Token, now: datetime) -> str:
    if isinstance(token.expires, UnsetType):
        return _NEVER
    text = token.expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
    return f"{text} (expired)" if token.expires <= now else text


def _daemons_uid(config: Config) -> int:
    """Return the user that the daemon runs as: the owner of its state, where there is one."""
    try:
        return Path(config.daemon.state_dir).stat().st_uid
    except OSError:
        return os.geteuid()
