"""The maintenance mode of a hosted engine, by its high availability agent, a package of its own."""

from __future__ import annotations

import importlib
from typing import Any, Final

from vdsm_virt.tuning.errors import HostedEngineAbsent, SetHAPolicyFailed

#: The agent's client, of the package ovirt-hosted-engine-ha.
_MODULE: Final = "ovirt_hosted_engine_ha.client.client"
_MODES: Final = ("GLOBAL", "LOCAL")


def set_maintenance_mode(mode: str, *, enabled: bool) -> None:
    """Switch a maintenance mode on or off.

    :param mode: "global", of all hosts of the engine, or "local", of this one
    :raises SetHAPolicyFailed: there is no such mode, or the agent refuses
    :raises HostedEngineAbsent: the agent is not installed
    """
    if mode.upper() not in _MODES:
        raise SetHAPolicyFailed(reason=f"there is no mode '{mode}', only global and local")
    try:
        module: Any = importlib.import_module(_MODULE)
    except ImportError as error:
        raise HostedEngineAbsent(reason=f"ovirt-hosted-engine-ha is not installed ({error})") from None
    try:
        client = module.HAClient()
        done = client.set_maintenance_mode(getattr(client.MaintenanceMode, mode.upper()), enabled)
    except Exception as error:
        # The agent's client raises classes of its own, which this daemon does not import.
        raise SetHAPolicyFailed(reason=str(error) or type(error).__name__) from error
    if not done:
        raise SetHAPolicyFailed(reason="the agent did not carry it out")
