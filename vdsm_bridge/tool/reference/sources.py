"""Which modules the reference is about: the host's own and those of the plugins, kits for tests left out."""

from __future__ import annotations

import importlib
import pkgutil

import msgspec

from vdsm_bridge.tool.installed import Installed

_OURS = ("vdsm_core", "vdsm_bridge")
#: Parts of packages that declare things only for tests.
_KITS = ("testing", "tests")


class Sources(msgspec.Struct, frozen=True):
    """Top-level packages, completely imported, so that everything that they declare is known."""

    packages: tuple[str, ...]

    @classmethod
    def of(cls, installed: Installed) -> Sources:
        """The packages of a set of plugins, and the host's own."""
        theirs = {
            plugin.target.split(":")[0].split(".")[0] for plugin in installed.plugins if not plugin.error
        }
        packages = tuple(dict.fromkeys((*_OURS, *sorted(theirs))))
        for package in packages:
            _import_all(package)
        return cls(packages)

    def declare(self, thing: type) -> bool:
        """Whether a class stands in one of the packages."""
        package, *rest = thing.__module__.split(".")
        return package in self.packages and not (rest and rest[0] in _KITS)


def _import_all(package: str) -> None:
    module = importlib.import_module(package)
    for info in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{package}."):
        leaf = info.name.rpartition(".")[2]
        if leaf != "__main__" and leaf not in _KITS:
            _import_all(info.name)
