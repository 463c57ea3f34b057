"""The host of a line, as far as that is known without reading the configuration."""

from __future__ import annotations

import json
import os

from vdsmsh.quick.errors import NotQuick
from vdsmsh.quick.wire import is_socket

_FILE = "local.json"


def choose_url(given: str) -> str:
    """Return the URL given, that of the environment, or that which was found on this machine last.

    :raises NotQuick: none is known
    """
    if url := given or os.environ.get("VDSM_URL", ""):
        return url
    try:
        with open(_path(), "rb") as file:
            known = json.loads(file.read())
        if known["state"] == _state() and is_socket(known["socket"]):
            return "unix://" + str(known["socket"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise NotQuick


def keep_url(url: str) -> None:
    """Keep the URL of the daemon of this machine, until its configuration changes; only sockets are kept."""
    path = url.removeprefix("unix://")
    if path == url or "%" in path:
        return
    try:
        os.makedirs(cache_folder(), 0o700, exist_ok=True)
        new = f"{_path()}.{os.getpid()}"
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"state": _state(), "socket": path}, file)
        os.replace(new, _path())
    except OSError:
        # It only saves time.
        return


def cache_folder() -> str:
    """Return the folder of what vdsmsh keeps, below `XDG_CACHE_HOME`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "vdsmsh")


def _path() -> str:
    return os.path.join(cache_folder(), _FILE)


def _state() -> list[object]:
    """Return what the choice depends on: the user, the environment, and the files of the configuration."""
    names = ("XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "CONFIGURATION_DIRECTORY")
    state: list[object] = [os.geteuid(), bool(os.environ.get("VDSM_TOKEN")), *map(os.environ.get, names)]
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    for folder in ("/etc/vdsm", os.path.join(home, "vdsm")):
        drop_ins = os.path.join(folder, "conf.d")
        try:
            names_of = sorted(os.listdir(drop_ins))
        except OSError:
            names_of = []
        for path in (os.path.join(folder, "vdsm.toml"), *(os.path.join(drop_ins, name) for name in names_of)):
            try:
                facts = os.stat(path)
            except OSError:
                continue
            state.append([path, facts.st_mtime_ns, facts.st_size])
    return state
