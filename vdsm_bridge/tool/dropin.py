"""Plugins switched on and off by a file in `conf.d`, which is written only if the daemon would accept it."""

from __future__ import annotations

from pathlib import Path

from vdsm_bridge.call.access import Rules, read_rules
from vdsm_bridge.call.access.tokens import path_of
from vdsm_bridge.tool.installed import Installed
from vdsm_core import config as configuration
from vdsm_core.config import Config, Options
from vdsm_core.errors import ConfigError, VdsmError


class CannotSwitch(VdsmError):
    """A plugin cannot be switched on or off from here. Facts: `plugin`, `reason`."""

    slug = "cannot-switch"
    template = "Cannot switch the plugin '{plugin}': {reason}"


def check(config: Config, found: Installed) -> Rules:
    """Check that a daemon would accept a configuration; return its rules of access.

    :raises ConfigError: it would refuse it
    """
    for plugin in found.plugins:
        if config.enabled(plugin.name):
            config.options(plugin.name, found.options.get(plugin.name, Options))
    configuration.check_required(config)
    rules = read_rules(config.access, path_of(config), config.origin)
    for name in config.daemon.required:
        missing = name not in found.names
        if missing or name in found.failures:
            reason = _not_installed(found) if missing else found.failures[name]
            raise ConfigError(
                file=config.origin["daemon.required"],
                key="daemon.required",
                reason=f"cannot use the plugin '{name}': {reason}",
            )
    return rules


def switch(name: str, found: Installed, place: Path | None, *, on: bool) -> Path | None:
    """Write the drop-in that switches a plugin on or off.

    :param found: all installed plugins, whatever the configuration says of them
    :param place: file or folder of the configuration; see `vdsm_core.config.load`
    :returns: the file that was written; None if the plugin is in this state already
    :raises CannotSwitch: no such plugin, a single file is read, or another file overrides the drop-in
    :raises ConfigError: the daemon would not accept the result
    """
    if name not in found.names:
        raise CannotSwitch(plugin=name, reason=_not_installed(found))
    if configuration.load(place).enabled(name) is on:
        return None
    folder = configuration.drop_in_folder(place)
    if folder is None:
        raise CannotSwitch(plugin=name, reason=f"{place} is read alone, without drop-ins; edit that file")
    file = folder / f"50-plugin-{name}.toml"
    _refuse_foreign(file, name)
    _refuse_bad_outcome(file, name, found, place, on=on)
    folder.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(
        f"# Written by vdsm-tool plugin enable and disable.\n[plugin.{name}]\nenabled = {str(on).lower()}\n",
        "utf-8",
    )
    new.rename(file)
    return file


def _not_installed(found: Installed) -> str:
    return f"it is not installed; the installed ones are {', '.join(found.names)}"


def _refuse_foreign(file: Path, name: str) -> None:
    if file.exists() and configuration.read(file).get("plugin", {}).get(name, {}).keys() - {"enabled"}:
        raise CannotSwitch(plugin=name, reason=f"{file} sets other options, too; edit that file")


def _refuse_bad_outcome(file: Path, name: str, found: Installed, place: Path | None, *, on: bool) -> None:
    files = configuration.files(place)
    documents = [(str(path), configuration.read(path)) for path in files if path != file]
    # The order of names decides which drop-in overrides the others.
    at = sum(path.parent != file.parent or path.name < file.name for path in files if path != file)
    documents.insert(at, (str(file), {"plugin": {name: {"enabled": on}}}))
    config = configuration.merge(documents)
    if config.enabled(name) is not on:
        theirs = config.origin[f"plugin.{name}.enabled"]
        reason = f"{theirs} overrides it with 'enabled = {str(not on).lower()}'; edit that file"
        raise CannotSwitch(plugin=name, reason=reason)
    check(config, found)
