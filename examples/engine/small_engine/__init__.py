"""A small engine: it manages the machines of a cluster through the console of the bus."""

from small_engine.engine import Engine, EngineError
from small_engine.inventory import HostLoad, Inventory, Machine

__all__ = ["Engine", "EngineError", "HostLoad", "Inventory", "Machine"]
