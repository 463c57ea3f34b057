"""The configuration, for bindings and clients: `vdsm_core.config`, under a name that they may import."""

from __future__ import annotations

from pathlib import Path

from vdsm_core import config
from vdsm_core.config import SYSTEM_RUN, Config, LimitOptions, Options, TlsOptions

__all__ = ["SYSTEM_RUN", "Config", "LimitOptions", "Options", "TlsOptions", "load"]


def load(place: Path | None = None) -> Config:
    """Read the configuration of this user's daemon; for root, that of the system service.

    :param place: a file, to read it alone, or a folder with a `vdsm.toml` and a `conf.d`; without it, the
        default ones, where present
    :raises ConfigError: a file cannot be read, or a key or value is not acceptable
    """
    with config.folders_of_user():
        return config.load(place)
