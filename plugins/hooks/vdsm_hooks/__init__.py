"""Hook scripts of VDSM: executables in folders, one for each hook point."""
