"""The host on the bus: a QMFv2 agent."""

from vdsm_qmf.agent.agent import Agent
from vdsm_qmf.agent.identity import agent_name, next_epoch

__all__ = ["Agent", "agent_name", "next_epoch"]
