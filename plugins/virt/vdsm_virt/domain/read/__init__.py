"""VDSM's definition of a machine, from its domain XML."""
