"""Errors of the agents within guests. Codes are VDSM's."""

from __future__ import annotations

from vdsm_core.errors import OperationFailed


class DesktopAgentSilent(OperationFailed):
    """oVirt's agent is not there, or says nothing. Facts: `vm_id`, `reason`."""

    slug = "desktop-agent-silent"
    code = 19
    template = "Cannot command the agent of oVirt in machine '{vm_id}': {reason}"
