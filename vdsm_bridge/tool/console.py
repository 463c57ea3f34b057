"""Exit codes and output of the commands of `vdsm-tool`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Final

from vdsm_core.config import Config

#: Exit codes. argparse has 2 for wrong usage.
DONE: Final = 0
FAILED: Final = 1
NOT_WELL: Final = 3
RESTART: Final = 4

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what it returns


def print_line(text: str) -> None:
    """Print a line of the result."""
    print(text)  # noqa: T201 - a command line prints


def print_error(text: str) -> None:
    """Print an error to standard error."""
    print(f"vdsm-tool: {text}", file=sys.stderr)  # noqa: T201 - as above


def toml_line(key: str, value: object, dotted: str, config: Config) -> str:
    """Return an option as TOML, with the file that sets it."""
    origin = config.origin.get(dotted)
    # JSON and TOML write texts, numbers, booleans and lists of them alike.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}" + (f"  # {origin}" if origin else "")
