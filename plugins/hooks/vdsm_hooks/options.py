"""Options of this plugin, `[plugin.hooks]`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from vdsm_core.config import Options, Positive
from vdsm_hooks.run.execution import Limits

MiBOption = Annotated[int, Meta(ge=1, le=1_048_576, extra_json_schema={"x-unit": "MiB"})]
AbsoluteFolder = Annotated[str, Meta(pattern="^/")]
AccountName = Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_-]{0,31}$(?!\n)")]


class HookScriptOptions(Options, frozen=True):
    """`[plugin.hooks]`.

    The privileged helper reads `folder`, `user` and the limits from its own configuration.
    """

    #: Folder with a folder of scripts for each hook point.
    folder: AbsoluteFolder = "/usr/libexec/vdsm/hooks"
    #: Account that scripts run as; the privileged helper changes to it.
    user: AccountName = "vdsm-hooks"
    #: Whether scripts run as the daemon's own user, without the helper. For development.
    as_daemon: bool = False
    #: Seconds that all scripts of one point may take together. They are ended before the deadline of the
    #: hook in [hooks], whatever this is.
    timeout: Positive = 25.0
    #: Such times of single points, by name: `before_vm_start = 60.0` (seconds).
    timeouts: dict[str, Positive] = {}
    #: Maximum number of processes of one script at the same time.
    processes: Annotated[int, Meta(ge=1, le=10_000)] = 64
    #: Maximum size of a file that a script writes, in MiB.
    file_size: MiBOption = 64
    #: Maximum address space of each process of a script, in MiB.
    memory: MiBOption = 2_048
    #: Processor time of each process of a script, in seconds.
    cpu_seconds: Annotated[int, Meta(ge=1, le=3_600, extra_json_schema={"x-unit": "s"})] = 20
    #: Number of runs that `Host.getHookRuns` returns at most.
    runs: Annotated[int, Meta(ge=1, le=10_000)] = 500
    #: Custom properties of machines that scripts get: patterns (RE2) by name, beside VDSM's own.
    vm_properties: dict[str, str] = {}
    #: Custom properties of devices that scripts get: patterns (RE2) by name, beside VDSM's own.
    device_properties: dict[str, str] = {}
    #: Undefined custom properties: "keep" does not pass them to scripts, "refuse" refuses the machine.
    undefined_properties: Literal["keep", "refuse"] = "keep"

    def limits(self) -> Limits:
        """Return the limits of one script."""
        return Limits(
            processes=self.processes,
            file_size=self.file_size * 2**20,
            memory=self.memory * 2**20,
            cpu=self.cpu_seconds,
        )
