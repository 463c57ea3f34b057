"""The identity of the agent: its name, and the epoch that counts its starts."""

from __future__ import annotations

import logging
import time
import uuid
from pathlib import Path
from typing import Final

from vdsm_bridge import Bridge, Context
from vdsm_bridge.errors import VdsmError
from vdsm_bridge.types import builtins
from vdsm_qmf.options import QmfOptions
from vdsm_qmf.protocol.names import AgentName

log = logging.getLogger(__name__)

#: Verbs that return the host's uuid, and the member that has it.
_UUID_VERBS: Final = (("Host.getCapabilities", "uuid"), ("Host.getHardwareInfo", "systemUUID"))
#: The namespace of uuids derived from machine ids (RFC 9562, section 5.5): any constant would do.
_NAMESPACE: Final = uuid.UUID("6e7f1d56-6c7a-4f0c-9c0d-2f8e5d0f1b77")
_MAX_EPOCH: Final = 2**32 - 1


def agent_name(options: QmfOptions, bridge: Bridge, root: Path = Path("/")) -> AgentName:
    """Return the configured name of the agent; the default instance is the host's uuid."""
    return AgentName(options.vendor, options.product, options.instance or host_uuid(bridge, root))


def host_uuid(bridge: Bridge, root: Path = Path("/")) -> str:
    """Return the uuid of the host from its verbs, else from its machine id, else a random one."""
    for verb, member in _UUID_VERBS:
        if verb not in bridge.verbs:
            continue
        try:
            found = builtins(bridge.call(verb, {}, Context(binding="qmf"))).get(member)
        except VdsmError as error:
            log.warning("Cannot read the uuid of the host with %s: %s", verb, error)
            continue
        if found:
            return str(found)
    try:
        machine = (root / "etc/machine-id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        machine = ""
    if machine:
        return str(uuid.uuid5(_NAMESPACE, machine))
    log.warning(
        "The host has no uuid: its agent has a random one until the next start. Set [plugin.qmf] instance."
    )
    return str(uuid.uuid4())


def next_epoch(file: str) -> int:
    """Return the epoch of this start of the agent, larger than those of all earlier starts.

    :param file: file with the number of starts; without it, or if it cannot be written, the epoch is the time
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
        log.warning("Cannot use the file with the number of starts, the time is the epoch: %s", error)
        return now
    return min(before + 1, _MAX_EPOCH)
