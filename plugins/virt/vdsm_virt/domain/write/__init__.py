"""The domain XML of a machine, from VDSM's parameters or from the client's own document."""
