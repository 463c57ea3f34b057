"""libvirt's domain XML: made of VDSM's parameters, and read back as VDSM's definitions."""
