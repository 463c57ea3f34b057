"""Machines whose state is saved on volumes: hibernation, and machines created from it."""
