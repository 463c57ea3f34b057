"""Who the agent is: its name, and which of its lives this is."""

from __future__ import annotations

import logging
import time
import uuid
from pathlib import Path
from typing import Final

from vdsm_bridge import Bridge, Context
from vdsm_bridge.errors import VdsmError
from vdsm_bridge.types import builtins
from vdsm_qmf.names import AgentName
from vdsm_qmf.options import QmfOptions

log = logging.getLogger(__name__)

#: Verbs that tell the host's uuid, and under which name.
_TELL: Final = (("Host.getCapabilities", "uuid"), ("Host.getHardwareInfo", "systemUUID"))
#: The namespace of uuids made of machine ids (RFC 9562, section 5.5): any constant would do.
_SPACE: Final = uuid.UUID("6e7f1d56-6c7a-4f0c-9c0d-2f8e5d0f1b77")
_LARGEST: Final = 2**32 - 1


def agent_name(options: QmfOptions, bridge: Bridge, root: Path = Path("/")) -> AgentName:
    """The name of the agent: as configured, else with the host's uuid as its instance."""
    return AgentName(options.vendor, options.product, options.instance or host_uuid(bridge, root))


def host_uuid(bridge: Bridge, root: Path = Path("/")) -> str:
    """The uuid of the host, from its verbs, else from its machine id; a random one if it has neither."""
    for verb, member in _TELL:
        if verb not in bridge.verbs:
            continue
        try:
            told = builtins(bridge.call(verb, {}, Context(binding="qmf"))).get(member)
        except VdsmError as error:
            log.warning("%s does not tell the uuid of the host: %s", verb, error)
            continue
        if told:
            return str(told)
    try:
        machine = (root / "etc/machine-id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        machine = ""
    if machine:
        return str(uuid.uuid5(_SPACE, machine))
    log.warning("The host has no uuid; until it is restarted it has a random one on the bus")
    return str(uuid.uuid4())


def next_epoch(file: str) -> int:
    """The number of this life of the agent: larger than that of every earlier one.

    :param file: counts the starts; without it, or if it cannot be written, the time is the number
    """
    now = int(time.time())
    if not file:
        return now
    path = Path(file)
    try:
        before = int(path.read_text("ascii")) if path.exists() else 0
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(f"{before + 1}\n", "ascii")
        fresh.replace(path)
    except (OSError, ValueError) as error:
        log.warning("The file that counts the starts cannot be used: %s", error)
        return now
    return min(before + 1, _LARGEST)
