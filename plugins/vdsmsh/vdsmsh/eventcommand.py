"""`vdsmsh events`: what happens on the host, a line for each event."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from vdsm_bridge.transport import Event
from vdsmsh.eventlines import FORMATS, liner
from vdsmsh.failures import TimeIsUp, UsageError
from vdsmsh.fleet import FleetSession
from vdsmsh.following import Follower
from vdsmsh.helptext import members
from vdsmsh.session import Session
from vdsmsh.settings import Parser, Settings, add_options, seconds

ABOUT: Final = """\
Show what happens on the host, a line for each event, until Ctrl-C.

A pattern is an event id in which * stands for any text within a part: '|virt|VM_status|*'. Parts that are
left out match everything, and dots do as well as bars, which a shell would take: virt.VM_*. Of several
patterns one must match. A broken connection is made again, and nothing is missed."""
_AFTER: Final = """\
On Ctrl-C the number of the last event is told; --after goes on behind it. A gap says which events are gone.
With --count, exit code 3 says that the time was up before that."""
_HELP: Final = frozenset({"-h", "--help"})


def run_events(session: Session, settings: Settings, words: Sequence[str]) -> None:
    """Show events.

    :raises TimeIsUp: fewer came than were asked for
    :raises TransportError: the host refused, or did not answer at the beginning
    """
    if _HELP & set(words):
        others = members(session.commands(settings.reading), "events")
        print(_parser(others).format_help(), file=session.streams.stdout)
        return
    parsed = _parser().parse_args(words)
    if isinstance(session, FleetSession):
        raise UsageError("events are those of one host")
    settings = settings.updated(parsed)
    patterns = [as_pattern(word) for word in parsed.patterns]
    if settings.dry_run:
        asked = {"filter": patterns[0] if patterns else "", "snapshot": parsed.snapshot}
        print(
            session.transport.preview("Events.subscribe", asked, settings.reading),
            file=session.streams.stdout,
        )
        return
    _follow(session, settings, parsed, patterns)


def _follow(
    session: Session, settings: Settings, parsed: argparse.Namespace, patterns: Sequence[str]
) -> None:
    stdout, stderr = session.streams.stdout, session.streams.stderr

    def tell(text: str) -> None:
        if settings.verbosity:
            print(f"vdsmsh: {text}", file=stderr, flush=True)

    position, missing = parsed.after, parsed.count
    try:
        with Follower(
            session.transport, patterns, settings.reading, tell, after=parsed.after, snapshot=parsed.snapshot
        ) as follower:
            position, line = follower.position, liner(parsed.format, stdout)
            for events in _batches(follower, parsed.count, parsed.duration, session.streams.insist):
                for event in events:
                    print(line(event), file=stdout)
                stdout.flush()
                position = follower.position
                missing = missing and missing - len(events)
    except KeyboardInterrupt:
        if position is not None:
            again = shlex.join(
                ["vdsmsh", *session.named, "events", *parsed.patterns, "--after", str(position)]
            )
            tell(f"the last number was {position}; go on with: {again}")
        raise
    if missing:
        raise TimeIsUp(f"{parsed.count - missing} of {parsed.count} events within {parsed.duration:g} s")


def _batches(
    follower: Follower, count: int | None, duration: float, insist: Callable[[], float]
) -> Iterator[list[Event]]:
    """Events as they come, none now and then, until `count` came or the time is up."""
    end = time.monotonic() + duration
    while count != 0 and (patience := end - time.monotonic()) > 0:
        events = follower.next(min(patience, insist()))[:count]
        yield events
        count = count and count - len(events)


def as_pattern(word: str) -> str:
    """A pattern as the host takes it; `virt.VM_*` is `|virt|VM_*`."""
    return word if "|" in word else "|".join(["", *word.split(".", 2)])


def _parser(others: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser; `others` are lines about commands with the same first word."""
    also = "\n".join(["\n\nalso, vdsmsh events ...", *others]) if others else ""
    parser = Parser(
        prog="vdsmsh events",
        description=ABOUT,
        epilog=_AFTER + also,
        allow_abbrev=False,
        # The time to wait for an answer is less of a wish here than the time to go on.
        conflict_handler="resolve",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="which events; all, if left out")
    parser.add_argument("--after", type=_number, metavar="N", help="begin behind the event of this number")
    parser.add_argument("--snapshot", action="store_true", help="begin with the current states")
    parser.add_argument("--count", type=_count, metavar="N", help="end after so many events")
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
        help="text for people; json and csv give a line for each event, with all that is known of it",
    )
    return parser


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is not the number of an event")
    return int(text)


def _count(text: str) -> int:
    if not _number(text):
        raise argparse.ArgumentTypeError("0 events are none")
    return int(text)
