"""Settings of libvirt's own configuration files, `key = value` by line."""

from __future__ import annotations

from vdsm_virt.host.tree import Tree


def setting(tree: Tree, path: str, key: str) -> str | None:
    """Return the value as it is spelled, quotes included, or None when the file leaves the default."""
    for line in tree.lines(path):
        name, separator, value = line.partition("=")
        if separator and name.strip() == key:
            return value.partition("#")[0].strip()
    return None
