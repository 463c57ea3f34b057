"""Completion scripts of the argparse commands for bash and zsh, written by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shtab

#: The shells for which there are scripts.
SHELLS = ("bash", "zsh")
#: Prints the names of plugins once each: a plugin may be in several groups.
_LIST_PLUGINS = "vdsm-tool plugin list 2>/dev/null | awk 'NR > 1 && !seen[$1]++ { print $1 }'"
#: Completes the name of an installed plugin, which only the machine of the shell has.
_PLUGIN = {"bash": "_vdsm_tool_plugins", "zsh": "_vdsm_tool_plugins"}
_PREAMBLE = {
    "bash": f'_vdsm_tool_plugins() {{\n  compgen -W "$({_LIST_PLUGINS})" -- "$1"\n}}',
    "zsh": f'_vdsm_tool_plugins() {{\n  compadd -- ${{(f)"$({_LIST_PLUGINS})"}}\n}}',
}
#: The commands whose argument is the name of an installed plugin.
_TAKE_PLUGIN = ("plugin show", "plugin enable", "plugin disable")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script of a command for a shell."""
    preamble = ""
    for command, action in _arguments(parser):
        values = _values(command, action)
        if values is not None:
            action.complete = values  # type: ignore[attr-defined]  # where shtab looks for it
        if values is _PLUGIN:
            preamble = _PREAMBLE[shell]
    return str(shtab.complete(parser, shell, preamble=preamble))


def _values(command: str, action: argparse.Action) -> Any:
    """Return what completes the value of an argument; None for what shtab does by itself."""
    if command in _TAKE_PLUGIN and action.dest == "name":
        return _PLUGIN
    if action.type is Path:
        return shtab.DIRECTORY if action.metavar == "FOLDER" else shtab.FILE
    return None


def _arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    """Yield each argument of a parser and of its commands, after the words of the command."""
    root = parser.prog

    def walk(each: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
        # argparse has no public way to list the arguments of a parser; shtab reads the same attribute.
        for action in each._actions:  # noqa: SLF001
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
                for command in action.choices.values():
                    yield from walk(command)
            else:
                yield each.prog.removeprefix(root).strip(), action

    yield from walk(parser)
