"""`vdsmsh complete`: the completion scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vdsmsh.failures import Exit
from vdsmsh.session import Streams
from vdsmsh.settings import Parser

#: Each shell's script lies beside this module.
SHELLS: Final = ("bash", "zsh")


def print_script(words: Sequence[str], streams: Streams) -> int:
    """Print the script of the shell that the words name; it asks vdsmsh for candidates.

    :raises UsageError: the words are not understood
    """
    parser = Parser(prog="vdsmsh complete", description="Print the completion script of a shell.")
    parser.add_argument("--shell", choices=SHELLS, default="bash", help="for which shell (bash)")
    shell = parser.parse_args(words).shell
    print(Path(__file__).with_name(f"vdsmsh.{shell}").read_text("utf-8"), end="", file=streams.stdout)
    return Exit.OK
