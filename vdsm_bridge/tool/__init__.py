"""`vdsm-tool`: inspects an installation, checks its configuration, switches plugins, writes the reference."""
