"""The help texts that cover more than one command."""

from __future__ import annotations

import textwrap
from typing import Final

from vdsmsh.api.command_names import BUILTIN, Commands

USAGE: Final = """\
usage: vdsmsh [options] COMMAND [arguments]
       vdsmsh [options]            an interactive shell
       vdsmsh --bus URL --host NAME|--all COMMAND [arguments]

Every verb of the host is a command: VM.getStats is `vdsmsh vm stats`. Where a command takes an id, it also
takes the name of the object. `vdsmsh COMMAND --help` describes the arguments of a command."""

EXIT_CODES: Final = """\
exit codes: 0 done, 1 refused by the host, 2 invalid command line, 3 no answer, 4 the task failed,
            5 some of several hosts failed, 130 interrupted"""


#: The groups whose commands are listed in the short help.
_SHORT: Final = ("vm", "task")


def overview(commands: Commands, *, every: bool = True) -> str:
    """Return the commands, a line for each first word.

    :param every: all of them; otherwise those that people use most, and the names of the other groups
    """
    lines = []
    groups = commands.groups(every=every)
    listed = groups if every else {name: groups[name] for name in _SHORT if name in groups}
    for first, seconds in listed.items():
        indent = " " * 18
        words = textwrap.fill(
            ", ".join(seconds),
            100,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
        lines.append(f"  {first:<15} {words.strip()}")
    if not every:
        others = ", ".join(name for name in groups if name not in listed)
        lines += ["", *textwrap.wrap(f"groups of commands: {others}", 100, subsequent_indent="  ")]
        lines += [
            "`vdsmsh GROUP --help` lists the commands of a group, `vdsmsh --help --all-verbs` all commands."
        ]
    own = [f"  {name:<15} {BUILTIN[name]}" for name in sorted(BUILTIN) if " " not in name]
    return "\n".join(
        [USAGE, "", "commands of this host:", *lines, "", "other commands:", *own, "", EXIT_CODES]
    )


def group(commands: Commands, first: str, *, every: bool = False) -> str:
    """Return the commands of one first word, each with its line of help.

    :param every: also verbs that have a better command
    """
    lines = [f"usage: vdsmsh {first} COMMAND [arguments]", "", *members(commands, first, every=every)]
    if commands.groups(every=every)[first] != commands.groups()[first]:
        lines += ["", f"`vdsmsh {first} --help --all-verbs` lists the verbs that have a better command, too."]
    return "\n".join(lines)


def members(commands: Commands, first: str, *, every: bool = True) -> list[str]:
    """Return a line for each command of one first word."""
    seconds = commands.groups(every=every).get(first, [])
    width = max(map(len, seconds), default=0)
    return [f"  {second:<{width}}  {commands.summary(f'{first} {second}')}" for second in seconds]
