"""The options that every command takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from vdsm_bridge.transport import CallOptions
from vdsmsh.errors import UsageError

#: Options of the connection that choose among the hosts of a bus.
BUS: Final = "--bus"
HOST: Final = "--host"
ALL: Final = "--all"
#: All options of the connection. Wherever they stand, they are removed from the line before it is parsed.
CONNECTION: Final = {
    "--url": "URL of the host: http://HOST:PORT, unix:///PATH, ... (default: VDSM_URL, else this machine)",
    "--token-file": "file with the bearer token (default: the token in VDSM_TOKEN)",
    "--ca": "file with the CA of https:// hosts (default: VDSM_CA, else the CAs of the system)",
    "--cert": "file with your client certificate (default: VDSM_CERT)",
    "--key": "file with its private key (default: VDSM_KEY, else the file of the certificate)",
    BUS: "bus of many hosts: amqp://USER@BROKER (password: VDSM_BUS_PASSWORD); needs --host or --all",
    HOST: "the host of the bus, by id or name",
}
#: Beside `--help`: list every verb, also those that have a better command.
ALL_VERBS: Final = "--all-verbs"
#: Those without a value.
CONNECTION_FLAGS: Final = {ALL: "every host of the bus, as one table"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The values of the options of every command.

    :ivar timeout: seconds to wait for an answer
    :ivar request_id: of the call; the host answers a repetition with the first result
    :ivar flow_id: the caller's tag in the log of the host
    :ivar dry_run: print the request instead of sending it
    :ivar verbosity: 0 results and errors only, 1 progress and notices, too, 2 a line for each call, too
    """

    timeout: float = 60.0
    request_id: str = ""
    flow_id: str = ""
    dry_run: bool = False
    verbosity: int = 1

    @property
    def call(self) -> CallOptions:
        """The options of the call of an action."""
        return replace(self.reading, request_id=self.request_id)

    @property
    def reading(self) -> CallOptions:
        """The options of a query, also of those that the command makes to resolve a name."""
        return CallOptions(timeout=self.timeout, flow_id=self.flow_id)

    def updated(self, parsed: argparse.Namespace) -> Settings:
        """Return these settings, with those of a parsed line in their place where it has them."""
        given = {f.name: getattr(parsed, f.name) for f in fields(self) if hasattr(parsed, f.name)}
        return replace(self, **given)


class Parser(argparse.ArgumentParser):
    """A parser that raises its error instead of printing the usage."""

    def error(self, message: str) -> Any:
        """Raise the message."""
        raise usage_error(self.prog, message)


def usage_error(prog: str, message: str) -> UsageError:
    """Return the error of a parser, with the command that prints its help."""
    return UsageError(f"{message}; see `{prog} --help`")


def seconds(text: str) -> float:
    """Parse a positive number of seconds.

    :raises argparse.ArgumentTypeError: the text is not one
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0 and below 1000000")
    return value


def add_options(parser: Any) -> None:
    """Add the options that a command takes before and after its name.

    They have no defaults: a value after the name replaces the one before it, and the absence of one does not.
    """
    group = parser.add_argument_group("options of every command")
    absent = argparse.SUPPRESS
    for flag, text in CONNECTION.items():
        group.add_argument(flag, default=absent, metavar=flag[2:].rpartition("-")[2].upper(), help=text)
    for flag, text in CONNECTION_FLAGS.items():
        group.add_argument(flag, action="store_true", default=absent, help=text)
    group.add_argument(
        "--timeout",
        type=seconds,
        default=absent,
        metavar="SECONDS",
        help="seconds to wait for the answer (60)",
    )
    group.add_argument(
        "--request-id",
        default=absent,
        metavar="ID",
        help="make a repetition safe: a request with the same ID gets the first result",
    )
    group.add_argument("--flow-id", default=absent, metavar="ID", help="a tag for the log of the host")
    group.add_argument(
        "--dry-run",
        action="store_true",
        default=absent,
        help="print the request as a curl command instead of sending it",
    )
    group.add_argument(
        "-q",
        "--quiet",
        dest="verbosity",
        action="store_const",
        const=0,
        default=absent,
        help="print results and errors only",
    )
    group.add_argument(
        "-v",
        "--verbose",
        dest="verbosity",
        action="store_const",
        const=2,
        default=absent,
        help="print a line for each call, too",
    )


def front_parser() -> Parser:
    """Return the parser of a line: the options that may precede the command, and the command."""
    parser = Parser(
        prog="vdsmsh", add_help=False, allow_abbrev=False, usage="vdsmsh [options] [COMMAND [arguments]]"
    )
    parser.add_argument("-h", "--help", action="store_true", help="list the commands of the host, and exit")
    parser.add_argument(
        ALL_VERBS, action="store_true", help="with --help: list every verb, also those with a better command"
    )
    parser.add_argument("--version", action="store_true", help="print the version, and exit")
    parser.add_argument(
        "command", nargs="...", metavar="COMMAND", help="a command and its arguments; a shell, if left out"
    )
    add_options(parser)
    return parser


def take_connection(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Remove the options of the connection from a line.

    :returns: their values, and the other words
    :raises UsageError: one of them has no value
    """
    taken: dict[str, str] = {}
    rest: list[str] = []
    queue = iter(words)
    for word in queue:
        flag, equals, value = word.partition("=")
        if word == "--":
            return taken, [*rest, word, *queue]
        if word in CONNECTION_FLAGS:
            taken[word] = word
        elif flag in CONNECTION:
            taken[flag] = value if equals else next(queue, "")
            if not taken[flag]:
                raise UsageError(f"{flag} needs a value")
        else:
            rest.append(word)
    return taken, rest
