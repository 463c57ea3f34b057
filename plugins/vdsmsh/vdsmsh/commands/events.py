"""`vdsmsh events`: the events of the host, a line for each."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from vdsm_bridge.transport import Event
from vdsmsh.commands.help import members
from vdsmsh.connection.fleet import FleetSession
from vdsmsh.connection.follower import Follower
from vdsmsh.connection.session import Session
from vdsmsh.errors import UsageError, WaitTimeout
from vdsmsh.output.event_lines import FORMATS, line_format
from vdsmsh.settings import ALL, Parser, Settings, add_options, seconds

ABOUT: Final = """\
Print the events of the host, a line for each, until Ctrl-C.

A pattern is an event id in which * stands for any text within a part: '|virt|VM_status|*'. Parts that are
left out match everything. Dots may stand for the bars, which a shell would interpret: virt.VM_*. With several
patterns, an event must match one of them. A broken connection is made again, and no event is missed."""
_EPILOG: Final = """\
Ctrl-C prints the number of the last event; --after continues behind it. A gap line names the events that the
host no longer has. With --count, exit code 3 says that the timeout passed first."""
_HELP: Final = frozenset({"-h", "--help"})


def run_events(session: Session, settings: Settings, words: Sequence[str]) -> None:
    """Carry out `events`.

    :param words: those that follow the command
    :raises WaitTimeout: fewer events than `--count` arrived in time
    :raises TransportError: the first subscription failed
    """
    if _HELP & set(words):
        others = members(session.commands(settings.reading), "events")
        print(events_parser(others).format_help(), file=session.streams.stdout)
        return
    parsed = events_parser().parse_args(words)
    if isinstance(session, FleetSession):
        raise UsageError(f"events are read from one host; name it with --host instead of {ALL}")
    settings = settings.updated(parsed)
    patterns = [as_pattern(word) for word in parsed.patterns]
    if settings.dry_run:
        arguments = {"filter": patterns[0] if patterns else "", "snapshot": parsed.snapshot}
        print(
            session.transport.preview("Events.subscribe", arguments, settings.reading),
            file=session.streams.stdout,
        )
        return
    _follow(session, settings, parsed, patterns)


def _follow(
    session: Session, settings: Settings, parsed: argparse.Namespace, patterns: Sequence[str]
) -> None:
    stdout, stderr = session.streams.stdout, session.streams.stderr

    def notify(text: str) -> None:
        if settings.verbosity:
            print(f"vdsmsh: {text}", file=stderr, flush=True)

    position, missing = parsed.after, parsed.count
    try:
        with Follower(
            session.transport,
            patterns,
            settings.reading,
            notify,
            after=parsed.after,
            snapshot=parsed.snapshot,
        ) as follower:
            position, line = follower.position, line_format(parsed.format, stdout)
            for events in _batches(follower, parsed.count, parsed.duration, session.streams.check_reader):
                for event in events:
                    print(line(event), file=stdout)
                stdout.flush()
                position = follower.position
                missing = missing and missing - len(events)
    except KeyboardInterrupt:
        if position is not None:
            command = shlex.join(
                ["vdsmsh", *session.named, "events", *parsed.patterns, "--after", str(position)]
            )
            notify(f"the last event was number {position}; continue with: {command}")
        raise
    if missing:
        received = parsed.count - missing
        raise WaitTimeout(f"{received} of {parsed.count} events arrived within {parsed.duration:g} s")


def _batches(
    follower: Follower, count: int | None, duration: float, check_reader: Callable[[], float]
) -> Iterator[list[Event]]:
    """Yield events as they arrive, and empty lists in between; end after `count` events or `duration`."""
    end = time.monotonic() + duration
    while count != 0 and (left := end - time.monotonic()) > 0:
        events = follower.next(min(left, check_reader()))[:count]
        yield events
        count = count and count - len(events)


def as_pattern(word: str) -> str:
    """Return a pattern in the notation of the host: `|virt|VM_*` for `virt.VM_*`."""
    return word if "|" in word else "|".join(["", *word.split(".", 2)])


def events_parser(others: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of `events`.

    :param others: help lines of the verbs whose command begins with the same word
    """
    also = "\n".join(["\n\nalso, vdsmsh events ...", *others]) if others else ""
    parser = Parser(
        prog="vdsmsh events",
        description=ABOUT,
        epilog=_EPILOG + also,
        allow_abbrev=False,
        # `--timeout` ends the command here, instead of the wait for an answer.
        conflict_handler="resolve",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="which events; all, if left out")
    parser.add_argument("--after", type=_number, metavar="N", help="begin behind the event of this number")
    parser.add_argument("--snapshot", action="store_true", help="begin with the current states")
    parser.add_argument("--count", type=_count, metavar="N", help="end after this number of events")
    parser.add_argument(
        "--timeout",
        dest="duration",
        type=seconds,
        default=float("inf"),
        metavar="SECONDS",
        help="end after this time",
    )
    parser.add_argument(
        "-f",
        "--format",
        choices=FORMATS,
        default="text",
        help="text for people; json and csv print every member of an event, on one line",
    )
    return parser


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of an event: a whole number, 0 or more")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of events: a whole number, 1 or more")
    return int(text)
