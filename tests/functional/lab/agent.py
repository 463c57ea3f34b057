"""The other end of a guest's qemu-guest-agent, through virsh: what a test does inside of a guest."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.functional.lab.host import LabHost
from vdsm_bridge.testing.polling import until


@dataclass(frozen=True)
class GuestAgent:
    """The agent of one running domain, which boots `BootFiles.with_agent()`.

    Commands: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
    """

    host: LabHost
    domain: str
    """The domain's UUID or name."""

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return an agent's answer to a command.

        :param arguments: the command's, with `_` in place of `-`
        :raises subprocess.CalledProcessError: the agent or libvirt refuses
        """
        document: dict[str, Any] = {"execute": command}
        if arguments:
            document["arguments"] = {name.replace("_", "-"): value for name, value in arguments.items()}
        answer = self.host.virsh("qemu-agent-command", self.domain, json.dumps(document))
        return json.loads(answer)["return"]

    def wait(self, within: float = 60.0) -> None:
        """Wait until the agent answers.

        :param within: seconds
        """
        until(self._answers, within, every=0.2, what=f"the agent of {self.domain}")

    def start(self, *command: str) -> Callable[[], str | None]:
        """Start a program in the guest.

        :returns: a function that returns the program's standard output; None while it runs
        """
        pid = self.ask("guest-exec", path=command[0], arg=list(command[1:]), capture_output=True)["pid"]

        def output() -> str | None:
            status = self.ask("guest-exec-status", pid=pid)
            if not status["exited"]:
                return None
            text = base64.b64decode(status.get("out-data", "")).decode(errors="replace")
            errors = base64.b64decode(status.get("err-data", "")).decode(errors="replace")
            assert status.get("exitcode") == 0, (command, status, text, errors)
            return text

        return output

    def run(self, *command: str, within: float = 20.0) -> str:
        """Run a program in the guest; what it writes to its standard output.

        :param within: seconds
        :raises AssertionError: its exit code is not 0, or it does not end in time
        """
        output = self.start(*command)
        found: list[str] = []

        def ended() -> bool:
            if (text := output()) is None:
                return False
            found.append(text)
            return True

        until(ended, within, every=0.05, what=f"the end of {command}")
        return found[0]

    def shell(self, script: str, within: float = 20.0) -> str:
        """Run a script of the guest's shell, with busybox's programs; its standard output."""
        return self.run("/bin/sh", "-c", f"export PATH=/bin:/usr/sbin\n{script}", within=within)

    def fall_silent(self, seconds: float) -> None:
        """Stop the agent's process with SIGSTOP, and return once it does not answer.

        :param seconds: until the guest continues it
        """
        script = f"kill -STOP $(cat /run/qemu-ga.pid); sleep {seconds}; kill -CONT $(cat /run/qemu-ga.pid)"
        self.ask("guest-exec", path="/bin/busybox", arg=["sh", "-c", f"sleep 0.2; {script}"])
        until(lambda: not self._answers(1), every=0.05, what=f"silence of {self.domain}")

    def _answers(self, timeout: int = 5) -> bool:
        try:
            self.host.virsh(
                "qemu-agent-command", "--timeout", str(timeout), self.domain, '{"execute": "guest-ping"}'
            )
        except subprocess.CalledProcessError:
            return False
        return True
