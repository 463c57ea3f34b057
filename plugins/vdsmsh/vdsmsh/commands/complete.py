"""`vdsmsh complete`: the completion scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vdsmsh.errors import Exit
from vdsmsh.settings import Parser
from vdsmsh.streams import Streams

#: The script of each shell is the file `vdsmsh.SHELL` beside this module.
SHELLS: Final = ("bash", "zsh")


def print_script(words: Sequence[str], streams: Streams) -> int:
    """Carry out `complete`: print the script of a shell, which asks vdsmsh for candidates.

    :param words: those that follow the command
    :raises UsageError: the words are not valid
    """
    parsed = complete_parser().parse_args(words)
    if parsed.help:
        print(complete_parser().format_help(), end="", file=streams.stdout)
        return Exit.OK
    script = Path(__file__).with_name(f"vdsmsh.{parsed.shell}")
    print(script.read_text("utf-8"), end="", file=streams.stdout)
    return Exit.OK


def complete_parser() -> Parser:
    """Return the parser of `complete`."""
    parser = Parser(
        prog="vdsmsh complete",
        description="Print the completion script of a shell.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this help, and exit")
    parser.add_argument("--shell", choices=SHELLS, default="bash", help="for which shell (bash)")
    return parser
