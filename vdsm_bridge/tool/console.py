"""What the commands of `vdsm-tool` have in common: how they end, and how they speak."""

from __future__ import annotations

import argparse
import json
import sys
from importlib import metadata
from pathlib import Path
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


class _Version(argparse.Action):
    """Print the version and end. It is looked for only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        say(f"{parser.prog} {metadata.version('vdsm')}")
        parser.exit()


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add the option `--version`."""
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and end")


def add_place(parser: argparse.ArgumentParser, default: Path | str | None) -> None:
    """Add the option `--config`."""
    parser.add_argument(
        "--config",
        type=Path,
        default=default,
        metavar="PLACE",
        help="read this file instead of the default ones; or this folder's vdsm.toml and conf.d",
    )


def toml_line(key: str, value: object, dotted: str, config: Config) -> str:
    """One option as TOML, with the file that sets it."""
    origin = config.origin.get(dotted)
    # What JSON says of texts, numbers, booleans and lists of them, TOML says, too.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}" + (f"  # {origin}" if origin else "")
