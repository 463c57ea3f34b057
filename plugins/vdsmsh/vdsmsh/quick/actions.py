"""The verbs that are called on each of the machines of a line."""

from __future__ import annotations

from vdsmsh.quick.errors import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from vdsmsh.quick.options import Line

#: Options that choose machines.
_CHOICE = {"--all": False, "--filter": True}


class Action:
    """A verb that is called on each of the machines of a line.

    :param verb: its full name
    :param done: what is printed of a machine, after its name
    :param about: the line of help
    :param options: its own options: the wire name of the parameter, the type or else the value, and a text
    :param goal: the status that `--wait` waits for; empty if the command has no `--wait`
    :param bad: statuses in which it can not be reached any more
    """

    def __init__(
        self,
        verb: str,
        done: str,
        about: str,
        *,
        options: dict[str, tuple[str, Any, str]] | None = None,
        goal: Sequence[str] = (),
        bad: Sequence[str] = (),
    ) -> None:
        self.verb = verb
        self.done = done
        self.about = about
        self.options = options or {}
        self.goal = goal
        self.bad = bad

    def flags(self) -> dict[str, bool]:
        """Return the options; whether each has a value."""
        own = {flag: kind in (int, str) for flag, (_, kind, _) in self.options.items()}
        waits = {"--wait": False, "--wait-timeout": True} if self.goal else {}
        return {**_CHOICE, **own, **waits}

    def arguments(self, line: Line) -> dict[str, Any]:
        """Return the arguments of the verb beside the machine.

        :raises Usage: a value is not of its type
        """
        arguments: dict[str, Any] = {}
        for flag, (name, kind, _) in self.options.items():
            if not line.has(flag):
                continue
            value = line.get(flag)
            if kind is int:
                if not value.isdigit():
                    raise Usage(f"{flag}: '{value}' is not a whole number")
                arguments[name] = int(value)
            else:
                arguments[name] = value if kind is str else kind
        return arguments


#: The actions by the word after `vm`.
ACTIONS = {
    "start": Action(
        "VM.start",
        "is being started",
        "Start machines that are down.",
        options={"--paused": ("launchPaused", True, "their processors do not run until `vm cont`")},
        goal=("Up", "Paused", "Powering up"),
        bad=("Down",),
    ),
    "shutdown": Action(
        "VM.shutdown",
        "is asked to shut down",
        "Ask guests to power off.",
        options={
            "--force": ("force", True, "destroy a machine whose guest does not comply"),
            "--reboot": ("reboot", True, "reboot instead"),
            "--delay": ("delay", int, "seconds to wait before the request"),
            "--timeout": ("timeout", int, "seconds that the guest has for each way in which it is asked"),
            "--message": ("message", str, "text for the log"),
        },
        goal=("Down",),
    ),
    "destroy": Action(
        "VM.destroy",
        "is destroyed",
        "End machines at once, or remove those that are down.",
        options={"--graceful-attempts": ("gracefulAttempts", int, "attempts to end QEMU with SIGTERM")},
    ),
    "pause": Action("VM.pause", "is paused", "Stop the processors of machines."),
    "cont": Action("VM.cont", "runs", "Let paused machines run."),
    "reset": Action("VM.reset", "is reset", "Reset machines, as their reset buttons would."),
    "adopt": Action("VM.adopt", "is adopted", "Take over machines that other clients of libvirt defined."),
    "forget": Action("VM.forget", "is forgotten", "Remove the definitions of machines that are down."),
}
