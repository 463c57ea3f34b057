"""What the commands of `vdsm-tool` have in common: how they end, and how they speak."""

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


def say(text: str) -> None:
    """Print what was asked for."""
    print(text)  # noqa: T201 - a command line speaks so


def complain(text: str) -> None:
    """Print, to standard error, what is the matter."""
    print(f"vdsm-tool: {text}", file=sys.stderr)  # noqa: T201 - as above


def toml_line(key: str, value: object, dotted: str, config: Config) -> str:
    """One option as TOML, with the file that sets it."""
    origin = config.origin.get(dotted)
    # What JSON says of texts, numbers, booleans and lists of them, TOML says, too.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}" + (f"  # {origin}" if origin else "")
