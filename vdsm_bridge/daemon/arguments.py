"""The arguments that `vdsmd` and `vdsm-tool` have in common."""

from __future__ import annotations

import argparse
from importlib import metadata
from pathlib import Path


class _Version(argparse.Action):
    """Print the version and exit. It is read from the metadata only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"{parser.prog} {metadata.version('vdsm')}")  # noqa: T201 - a command line prints
        parser.exit()


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add the option `--version`."""
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and end")


def add_system(parser: argparse.ArgumentParser) -> None:
    """Add the option `--system`."""
    parser.add_argument(
        "--system",
        action="store_true",
        help="use /etc/vdsm, /var/lib/vdsm and /run/vdsm, as the service does",
    )


def add_place(parser: argparse.ArgumentParser, default: Path | str | None) -> None:
    """Add the option `--config`."""
    parser.add_argument(
        "--config",
        type=Path,
        default=default,
        metavar="PLACE",
        help="read this file instead of the default ones; or this folder's vdsm.toml and conf.d",
    )
