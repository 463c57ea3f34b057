"""The type of each plugin's options. A name is one table, `[plugin.NAME]`, in all groups."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vdsm_core import plugins
from vdsm_core.config import Options
from vdsm_core.plugins import Found


def without_conflicts(found: Sequence[Found]) -> list[Found]:
    """Return the plugins of all groups; refuse those whose tables of options are invalid or conflict."""
    owners: dict[str, tuple[type[Options], Found]] = {}
    return [_with_own_options(each, owners) for each in plugins.refuse_shared_tables(found)]


def _with_own_options(found: Found, owners: dict[str, tuple[type[Options], Found]]) -> Found:
    config = config_type(found, ())
    first, owner = (
        owners.setdefault(found.name, (config, found)) if config is not Options else (config, found)
    )
    if "enabled" in config.__struct_fields__:
        reason = "its option 'enabled' conflicts with the option 'enabled' of every plugin"
    elif first is not config:
        reason = (
            f"{owner.target} ({owner.source}) and {found.target} ({found.source}) "
            f"have different options for one table [plugin.{found.name}]"
        )
    else:
        return found
    return msgspec.structs.replace(found, loaded=None, error=reason)


def config_type(found: Found, known: Sequence[Found]) -> type[Options]:
    """Return the type of a plugin's options, which plugins of one name in several groups share."""
    for candidate in (found, *(other for other in known if other.name == found.name)):
        config = getattr(candidate.loaded, "Config", None)
        if isinstance(config, type) and issubclass(config, Options) and config is not Options:
            return config
    return Options
