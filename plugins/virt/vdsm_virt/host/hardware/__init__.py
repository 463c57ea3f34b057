"""Processors, memory, NUMA nodes, storage adapters and the firmware's tables."""
