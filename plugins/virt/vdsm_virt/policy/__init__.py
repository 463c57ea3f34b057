"""Which roles may ask for what of a machine."""
