"""`vdsmsh`: the command line of one host."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from vdsm_bridge.transport import CallRefused, Unreachable
from vdsmsh import fleet, helptext, target
from vdsmsh.catalogue import CatalogueCache
from vdsmsh.failures import ClientError, Exit, UsageError
from vdsmsh.fleet import ALL, BUS, HOST
from vdsmsh.session import Session, Streams
from vdsmsh.settings import Parser, Settings, add_options, take_connection

_COMPLETE = "__complete"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, or the shell where there is none.

    :returns: the exit code, one of `Exit`
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    streams = Streams()
    return guarded(lambda: _run(words, streams), streams)


def guarded(work: Callable[[], int], streams: Streams) -> int:
    """Do some work; whatever goes wrong becomes a line on standard error and an exit code."""
    try:
        code = work()
        streams.stdout.flush()
    except (ClientError, CallRefused, Unreachable) as error:
        return _failed(error, streams)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whatever Python still wants to flush at its end shall go nowhere, without complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else Exit.OK
    return code


def _failed(error: Exception, streams: Streams) -> int:
    text = " ".join(str(error).split())
    code: int = Exit.UNREACHABLE
    if isinstance(error, CallRefused):
        text, code = f"{text} ({error.slug}, {error.code})", Exit.REFUSED
    elif isinstance(error, ClientError):
        code = error.code
    streams.stdout.flush()
    print(f"vdsmsh: {text}", file=streams.stderr)
    return code


def _run(words: list[str], streams: Streams) -> int:
    if words[:1] == [_COMPLETE]:
        return _candidates(words[1:], streams)
    connection, words = take_connection(words)
    parsed = front().parse_args(words)
    words = parsed.command
    if parsed.version:
        print(f"vdsmsh {_version()}", file=streams.stdout)
        return Exit.OK
    if words[:1] == ["complete"]:
        return int(importlib.import_module("vdsmsh.scripts").print_script(words[1:], streams))
    if parsed.help:
        return _overview(connection, streams)
    settings = Settings().updated(parsed)
    with contextlib.closing(open_session(connection, streams)) as session:
        session.named = [word for pair in connection.items() for word in pair if word]
        if not words:
            return int(importlib.import_module("vdsmsh.shell").Shell(session, settings).run())
        importlib.import_module("vdsmsh.dispatch").dispatch(session, settings, words)
        return Exit.OK


def open_session(connection: dict[str, str], streams: Streams) -> Session:
    """The host that the options of the connection and the environment mean.

    :raises UsageError: the URL or the token file cannot be used
    :raises TransportError: a bus is meant, and it or the host is not there
    """
    proof = target.credentials(connection.get("--token-file", ""))
    if BUS in connection:
        return fleet.open_session(connection, lambda url: target.connect(url, proof), streams)
    if HOST in connection or ALL in connection:
        raise UsageError(f"{HOST} and {ALL} choose among the hosts of a bus; give {BUS} URL")
    url = target.choose_url(connection.get("--url", ""), token=bool(proof.token))
    return Session(target.connect(url, proof), CatalogueCache(url), streams)


def front() -> Any:
    """What may stand before the command."""
    parser = Parser(prog="vdsmsh", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("command", nargs="...")
    add_options(parser)
    return parser


def _overview(connection: dict[str, str], streams: Streams) -> int:
    try:
        with contextlib.closing(open_session(connection, streams)) as session:
            text = helptext.overview(session.commands(Settings().reading))
    except (Unreachable, CallRefused, UsageError) as error:
        text = f"{helptext.USAGE}\n\nThe commands of the host are not known: {error}\n\n{helptext.EXIT_CODES}"
    print(text, file=streams.stdout)
    return Exit.OK


def _candidates(words: list[str], streams: Streams) -> int:
    completion = importlib.import_module("vdsmsh.completion")
    return int(completion.answer(words, lambda connection: open_session(connection, streams), streams))


def _version() -> str:
    return str(importlib.import_module("importlib.metadata").version("vdsmsh"))


if __name__ == "__main__":
    sys.exit(main())
