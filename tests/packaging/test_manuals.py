"""Manual pages of the argparse commands: every option of a command is on its page."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vdsm_bridge.daemon import main as daemon
from vdsm_bridge.tool import main as tool

MANUALS = Path(__file__).parents[2] / "docs" / "man"


def parser_of(page: str) -> argparse.ArgumentParser:
    """The parser of the command that a page describes."""
    if page == "vdsmsh.1":
        return pytest.importorskip("vdsmsh.settings").front_parser()
    return {"vdsmd.8": daemon.parser, "vdsm-tool.8": tool.parser}[page]()


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from commands(command)


def sections(page: str) -> dict[str, str]:
    """The plain text of a page by the title of its sections and subsections."""
    plain = re.sub(r"\\f[BIR]|\\,|\\/", "", (MANUALS / page).read_text("utf-8")).replace("\\-", "-")
    parts = re.split(r"^\.S[HS]\s+(.*)$", plain, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("page", ["vdsmd.8", "vdsm-tool.8", "vdsmsh.1"])
def test_each_option_is_on_the_page(page: str) -> None:
    """Every option of a command has an entry with its help, in the part of the page about that command."""
    parser = parser_of(page)
    found = sections(page)
    missing = []
    for command in commands(parser):
        own = [found[command.prog]] if command is not parser else [t for n, t in found.items() if n.isupper()]
        text = " ".join("\n".join(own).split())
        for action in command._actions:
            if isinstance(action, argparse._HelpAction | argparse._SubParsersAction) or action.dest == "help":
                continue
            assert action.help, f"{command.prog}: {action.dest} has no help"
            names = action.option_strings or [str(action.metavar)]
            entry = all(re.search(rf"(?:\.TP |, ){re.escape(name)}[ ,]", text) for name in names)
            described = " ".join((action.help % {"prog": command.prog}).split()) in text
            if not (entry and described):
                missing.append((command.prog, names))
    assert missing == []


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize("page", sorted(path.name for path in MANUALS.iterdir()))
def test_pages_are_valid(page: str) -> None:
    """groff formats each page without a warning."""
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", MANUALS / page], check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout
