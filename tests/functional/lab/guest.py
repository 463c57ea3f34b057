"""A guest of the lab, described straight to libvirt: for what is not about creating machines."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from tests.functional.lab.boot import BootFiles
from tests.functional.lab.host import BRIDGE, LabHost

#: What the guest writes on its serial console (init.sh, boot.py).
UP = "LAB GUEST UP"
POWERS_OFF = "LAB GUEST POWERS OFF"

DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>128</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <source bridge='{bridge}'/>
      <model type='virtio'/>
    </interface>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <serial type='file'>
      <source path='{console}'/>
    </serial>
    <memballoon model='virtio'>
      <stats period='1'/>
    </memballoon>
  </devices>
</domain>
"""


@dataclass(frozen=True)
class Guest:
    """One machine: its id, its disk, and the file that its serial console is written to."""

    host: LabHost
    name: str
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def console(self) -> Path:
        """The serial console's file."""
        return self.host.root / f"{self.name}.console"

    def xml(self, boot: BootFiles, disk: Path | None = None) -> str:
        """The domain document.

        :param disk: its image; a new and empty one without it
        """
        return DOMAIN.format(
            name=self.name,
            uuid=self.uuid,
            kernel=boot.kernel,
            initrd=boot.initrd,
            cmdline=boot.cmdline,
            disk=disk or self.host.disk(self.name),
            bridge=BRIDGE,
            console=self.console,
        )

    def wait_for_console(self, text: str, within: float = 60.0) -> None:
        """Wait until the guest has written `text`.

        :param within: seconds
        :raises TimeoutError: it has not
        """
        deadline = time.monotonic() + within
        while text not in (written := self._written()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {text!r} on the console of {self.name}:\n{written[-2000:]}")
            time.sleep(0.05)

    def _written(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""
