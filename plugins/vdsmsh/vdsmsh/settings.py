"""The options that every command takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from vdsm_bridge.transport import CallOptions
from vdsmsh.failures import UsageError

#: Options of the connection: wherever they stand, they are taken off the line before anything else.
CONNECTION: Final = {
    "--url": "where the host is: http://HOST:PORT, unix:///PATH, ... (default: VDSM_URL, else this machine)",
    "--token-file": "file with the bearer token (default: the token in VDSM_TOKEN)",
    "--bus": "bus of many hosts: amqp://USER@BROKER (password: VDSM_BUS_PASSWORD); needs --host or --all",
    "--host": "the host of the bus, by id or name",
}
#: As these, but without a value.
CONNECTION_FLAGS: Final = {"--all": "every host of the bus, as one table"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the options of every command say.

    :ivar verbosity: 0 quiet, 1 as usual, 2 tells what is sent
    """

    timeout: float = 60.0
    request_id: str = ""
    flow_id: str = ""
    dry_run: bool = False
    verbosity: int = 1

    @property
    def call(self) -> CallOptions:
        """What goes with the call of an action."""
        return replace(self.reading, request_id=self.request_id)

    @property
    def reading(self) -> CallOptions:
        """What goes with a call that the command makes on its own account, to look something up."""
        return CallOptions(timeout=self.timeout, flow_id=self.flow_id)

    def updated(self, parsed: argparse.Namespace) -> Settings:
        """These settings, with what was parsed over them."""
        given = {f.name: getattr(parsed, f.name) for f in fields(self) if hasattr(parsed, f.name)}
        return replace(self, **given)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> Any:
        """Leave with the message."""
        raise UsageError(message)


def seconds(text: str) -> float:
    """A positive number of seconds.

    :raises argparse.ArgumentTypeError: it is not
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return value


def add_options(parser: Any) -> None:
    """Add the options that a command takes before and after its name.

    Without a default of their own, so that what stands after the name goes over what stands before it.
    """
    group = parser.add_argument_group("options of every command")
    absent = argparse.SUPPRESS
    for flag, text in CONNECTION.items():
        group.add_argument(flag, default=absent, metavar=flag[2:].rpartition("-")[2].upper(), help=text)
    for flag, text in CONNECTION_FLAGS.items():
        group.add_argument(flag, action="store_true", default=absent, help=text)
    group.add_argument(
        "--timeout", type=seconds, default=absent, metavar="SECONDS", help="wait so long for the answer (60)"
    )
    group.add_argument(
        "--request-id",
        default=absent,
        metavar="ID",
        help="sent again, it gets the first result instead of doing it twice",
    )
    group.add_argument("--flow-id", default=absent, metavar="ID", help="your tag in the log of the host")
    group.add_argument(
        "--dry-run",
        action="store_true",
        default=absent,
        help="print the request as a curl command, send nothing",
    )
    group.add_argument(
        "-q",
        "--quiet",
        dest="verbosity",
        action="store_const",
        const=0,
        default=absent,
        help="results and errors only",
    )
    group.add_argument(
        "-v",
        "--verbose",
        dest="verbosity",
        action="store_const",
        const=2,
        default=absent,
        help="tell what is sent",
    )


def take_connection(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Take the options of the connection off a line.

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
