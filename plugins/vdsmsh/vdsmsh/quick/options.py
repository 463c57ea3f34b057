"""The options of quick commands, without argparse, whose import takes longer than they do."""

from __future__ import annotations

from vdsmsh.quick.errors import NotQuick, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Options of every command: a value, or none (False).
COMMON = {"--url": True, "--timeout": True, "-q": False, "--quiet": False, "-h": False, "--help": False}
#: Those that the whole program has beside them.
ELSEWHERE = frozenset(
    [
        "--token-file",
        "--ca",
        "--cert",
        "--key",
        "--bus",
        "--host",
        "--request-id",
        "--flow-id",
        "--dry-run",
        "-v",
        "--verbose",
        "--file",
        "--watch",
        "-f",
        "--format",
        "-c",
        "--column",
        "--sort-column",
        "--noindent",
        "--quote",
        "--max-width",
        "--fit-width",
        "--print-empty",
        "--sort-ascending",
        "--sort-descending",
        "--version",
    ]
)


class Line:
    """A parsed line.

    :ivar names: the words that are no options
    :ivar options: the values of options, the last one where only one is used; "" of those without a value
    :ivar repeated: every value of an option
    """

    def __init__(self) -> None:
        #: Seconds to wait for answers; empty if not given, or if the command has an option of this name.
        self.timeout = ""
        self.names: list[str] = []
        self.options: dict[str, str] = {}
        self.repeated: dict[str, list[str]] = {}

    def has(self, *flags: str) -> bool:
        """Return whether one of the options is given."""
        return any(flag in self.options for flag in flags)

    def get(self, flag: str, otherwise: str = "") -> str:
        """Return the value of an option."""
        return self.options.get(flag, otherwise)


def parse(words: Sequence[str], known: Mapping[str, bool], command: str) -> Line:
    """Parse the words that follow a command.

    :param known: its options; whether each has a value
    :raises NotQuick: it has an option of the whole program
    :raises Usage: it has one that does not exist, or a value is missing
    """
    if any(word.partition("=")[0] in ELSEWHERE for word in words):
        raise NotQuick
    line = Line()
    options = {**COMMON, **known}
    queue = iter(words)
    for word in queue:
        if word == "--":
            line.names.extend(queue)
        elif not word.startswith("-") or word == "-":
            line.names.append(word)
        else:
            _take(line, word, queue, options, command)
    if "--timeout" not in known:
        line.timeout = line.get("--timeout")
    return line


def seconds(text: str, flag: str) -> float:
    """Return a positive number of seconds.

    :raises Usage: the text is none
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise Usage(f"{flag}: '{text}' is not a number of seconds above 0 and below 1000000")
    return value


def _take(line: Line, word: str, queue: Iterator[str], options: Mapping[str, bool], command: str) -> None:
    """Add an option to a line.

    :param queue: the words that follow it
    """
    flag, equals, value = word.partition("=")
    positive = f"--{flag[5:]}" if flag.startswith("--no-") else ""
    # As in -fjson.
    if flag not in options and word[:2] in ("-f", "-c"):
        raise NotQuick
    if flag not in options and options.get(positive) is not False:
        raise Usage(f"there is no option {flag}; see `vdsmsh {command} --help`")
    if not options.get(flag):
        if equals:
            raise Usage(f"{flag} takes no value; see `vdsmsh {command} --help`")
        if flag in options:
            line.options[flag] = ""
        else:
            line.options.pop(positive, None)
        return
    if not equals:
        value = next(queue, "")
    if not value:
        raise Usage(f"{flag} needs a value; see `vdsmsh {command} --help`")
    line.options[flag] = value
    line.repeated.setdefault(flag, []).append(value)
