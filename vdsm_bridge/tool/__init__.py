"""`vdsm-tool`: look at an installation, check its configuration, switch its plugins, write its reference."""
