"""`vdsmsh` as a whole: every line that the quick way leaves."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from vdsm_bridge.transport import CallRefused, Unreachable
from vdsmsh.api.catalogue import CatalogueCache
from vdsmsh.commands import help as helptext
from vdsmsh.commands.exit_code import exit_code_of
from vdsmsh.commands.people import is_for_people
from vdsmsh.connection import target
from vdsmsh.connection.session import Session
from vdsmsh.errors import Exit, UsageError
from vdsmsh.quick import place
from vdsmsh.settings import ALL, BUS, HOST, Settings, front_parser, take_connection
from vdsmsh.streams import Streams

_COMPLETE = "__complete"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, or the shell if the line has none.

    :returns: the exit code, one of `Exit`
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    streams = Streams()
    # A transport may log; its errors are printed, and must not appear twice.
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)
    try:
        return exit_code_of(lambda: _run(words, streams), streams)
    finally:
        logging.getLogger().removeHandler(silence)


def _run(words: list[str], streams: Streams) -> int:
    if words[:1] == [_COMPLETE]:
        return _complete(words[1:], streams)
    connection, words = take_connection(words)
    parsed = front_parser().parse_args(words)
    if ALL in connection and BUS not in connection and is_for_people(parsed.command):
        # All machines of one host, not all hosts of a bus.
        del connection[ALL]
        parsed.command.append(ALL)
    words = parsed.command
    if parsed.version:
        print(f"vdsmsh {_version()}", file=streams.stdout)
        return Exit.OK
    if words[:1] == ["complete"]:
        return int(importlib.import_module("vdsmsh.commands.complete").print_script(words[1:], streams))
    if parsed.help:
        return _overview(connection, streams, every=parsed.all_verbs)
    settings = Settings().updated(parsed)
    with contextlib.closing(open_session(connection, streams)) as session:
        session.named = [word for pair in connection.items() for word in pair if word]
        if not words:
            return int(importlib.import_module("vdsmsh.shell.interactive").Shell(session, settings).run())
        importlib.import_module("vdsmsh.commands.dispatch").dispatch(session, settings, words)
        return Exit.OK


def open_session(connection: dict[str, str], streams: Streams) -> Session:
    """Return a session with the host that the options of the connection and the environment name.

    :raises UsageError: the URL or the token file cannot be used
    :raises TransportError: the bus, or the host on it, does not answer
    """
    proof = target.add_tls_files(target.credentials(connection.get("--token-file", "")), connection)
    if BUS in connection:
        fleet = importlib.import_module("vdsmsh.connection.fleet")
        session: Session = fleet.open_session(connection, lambda url: target.connect(url, proof), streams)
        return session
    if HOST in connection or ALL in connection:
        raise UsageError(f"{HOST} and {ALL} choose among the hosts of a bus; name the bus with {BUS} URL")
    url = target.choose_url(connection.get("--url", ""), token=bool(proof.token))
    session = Session(target.connect(url, proof), CatalogueCache(url), streams)
    if not (connection.get("--url") or os.environ.get(target.URL)):
        place.keep_url(url)
    return session


def _overview(connection: dict[str, str], streams: Streams, *, every: bool) -> int:
    try:
        with contextlib.closing(open_session(connection, streams)) as session:
            text = helptext.overview(session.commands(Settings().reading), every=every)
    except (Unreachable, CallRefused, UsageError) as error:
        text = f"{helptext.USAGE}\n\ncannot list the commands of the host: {error}\n\n{helptext.EXIT_CODES}"
    print(text, file=streams.stdout)
    return Exit.OK


def _complete(words: list[str], streams: Streams) -> int:
    completion = importlib.import_module("vdsmsh.shell.completion")
    return int(completion.answer(words, lambda connection: open_session(connection, streams), streams))


def _version() -> str:
    return str(importlib.import_module("importlib.metadata").version("vdsmsh"))
