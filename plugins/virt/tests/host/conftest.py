"""Made-up hosts: a few files below a folder of the test's own, and a hypervisor that hands out documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vdsm_core.hypervisor.errors import OperationUnsupported
from vdsm_virt.host import Tree

MakeTree = Callable[[dict[str, str]], Tree]

CAPABILITIES = """
<capabilities>
  <host>
    <uuid>11111111-2222-3333-4444-555555555555</uuid>
    <cpu><arch>x86_64</arch><counter name='tsc' frequency='2596122000' scaling='yes'/></cpu>
  </host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='i686'><machine>isapc</machine><domain type='qemu'/></arch>
  </guest>
  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'>
      <machine canonical='pc-i440fx-7.2' maxCpus='255'>pc</machine>
      <machine maxCpus='288'>pc-q35-7.2</machine>
      <domain type='qemu'/>
      <domain type='kvm'><machine>pc-q35-7.2</machine></domain>
    </arch>
  </guest>
</capabilities>
"""

DOMAIN_CAPABILITIES = """
<domainCapabilities>
  <cpu>
    <mode name='host-model' supported='yes'><model>EPYC</model></mode>
    <mode name='custom' supported='yes'>
      <model usable='yes'>Nehalem</model>
      <model usable='no'>SapphireRapids</model>
      <model usable='yes'>qemu64</model>
    </mode>
  </cpu>
</domainCapabilities>
"""


class Documents:
    """The hypervisor's answers; counts the reads of its capabilities."""

    def __init__(self, capabilities: str = CAPABILITIES, domain: str | None = DOMAIN_CAPABILITIES) -> None:
        self.capabilities = capabilities
        self.domain = domain
        self.reads = 0

    def capabilities_xml(self, *, timeout: float | None = None) -> str:
        self.reads += 1
        return self.capabilities

    def domain_capabilities_xml(self, *, timeout: float | None = None) -> str:
        if self.domain is None:
            raise OperationUnsupported(operation="domain_capabilities", reason="test", libvirt_code=3)
        return self.domain

    def libvirt_version(self) -> str:
        return "9.0.0"

    def hypervisor_version(self) -> str:
        return "7.2.22"


@pytest.fixture
def tree(tmp_path: Path) -> MakeTree:
    """Write files, by path below the root. Called again, it adds to them."""

    def make(files: dict[str, str]) -> Tree:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Tree(tmp_path)

    return make


@pytest.fixture
def documents() -> type[Documents]:
    return Documents
