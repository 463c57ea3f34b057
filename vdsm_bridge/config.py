"""The configuration, for bindings and clients; it is `vdsm_core.config`, under the name they may import."""

from vdsm_core.config import SYSTEM_RUN, Config, Options, load

__all__ = ["SYSTEM_RUN", "Config", "Options", "load"]
