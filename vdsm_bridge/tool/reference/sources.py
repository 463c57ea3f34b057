"""The modules that the reference covers: those of the host and of the plugins, without test kits."""

from __future__ import annotations

import importlib
import pkgutil

import msgspec

from vdsm_bridge.tool.installed import Installed

_OURS = ("vdsm_core", "vdsm_bridge")
#: Subpackages whose declarations are for tests only.
_KITS = ("testing", "tests")


class Sources(msgspec.Struct, frozen=True):
    """Top-level packages, completely imported, so that all their declarations are registered."""

    packages: tuple[str, ...]

    @classmethod
    def of(cls, installed: Installed) -> Sources:
        """Return the packages of the host and of a set of plugins."""
        theirs = {
            plugin.target.split(":")[0].split(".")[0] for plugin in installed.plugins if not plugin.error
        }
        packages = tuple(dict.fromkeys((*_OURS, *sorted(theirs))))
        for package in packages:
            _import_all(package)
        return cls(packages)

    def declare(self, thing: type) -> bool:
        """Return whether a class is declared in one of the packages, outside their test kits."""
        package, *rest = thing.__module__.split(".")
        return package in self.packages and not (rest and rest[0] in _KITS)


def _import_all(package: str) -> None:
    module = importlib.import_module(package)
    for info in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{package}."):
        leaf = info.name.rpartition(".")[2]
        if leaf != "__main__" and leaf not in _KITS:
            _import_all(info.name)
