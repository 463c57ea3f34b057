"""A small engine: it looks after the machines of a cluster, and knows hosts only through their console."""

from small_engine.engine import Engine, EngineError
from small_engine.inventory import HostLoad, Inventory, Machine

__all__ = ["Engine", "EngineError", "HostLoad", "Inventory", "Machine"]
