"""Completion of command words and of the names of machines, from what earlier commands have kept."""

from __future__ import annotations

import json
import os

from vdsmsh.quick import machines
from vdsmsh.quick.errors import Failed, NotQuick
from vdsmsh.quick.helptext import NAMES
from vdsmsh.quick.place import cache_folder, choose_url
from vdsmsh.quick.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Seconds to wait for the host: a prompt that takes longer is no help.
_TIMEOUT = 2.0
#: Commands whose words are names of machines.
_NAMED = frozenset(NAMES) - {"list", "top"}


def answer(shell: str, line: str) -> list[str]:
    """Return the candidates for the last word of a line.

    :raises NotQuick: the program as a whole has to find them
    """
    if shell != "bash" or any(c in line for c in "\\'\"$`"):
        raise NotQuick
    words = line.split()
    current = "" if line[-1:].isspace() else words.pop()
    words = words[1:]
    if current.startswith("-") or any(word.startswith("-") for word in words):
        raise NotQuick
    url = choose_url("")
    if len(words) < 2:
        groups = load(url)
        found = groups.get(words[0], []) if words else list(groups)
        if words and not found:
            raise NotQuick
    elif words[0] == "vm" and words[1] in _NAMED:
        wire = Wire(url, os.environ.get("VDSM_TOKEN", "").strip(), _TIMEOUT)
        try:
            found = [row["name"] for row in machines.read(wire.call)]
        except Failed:
            return []
        forget_other(url, wire.revision)
    else:
        raise NotQuick
    return sorted({word for word in found if word.startswith(current)})


def keep(url: str, revision: str, groups: Mapping[str, Sequence[str]]) -> None:
    """Keep the words of the commands of a host.

    :param groups: the second words by the first; none of a command of one word
    """
    try:
        os.makedirs(cache_folder(), 0o700, exist_ok=True)
        new = f"{_path(url)}.{os.getpid()}"
        with open(new, "w", encoding="utf-8") as file:
            file.write(f"{json.dumps([url, revision])}\n{json.dumps(groups)}\n")
        os.replace(new, _path(url))
    except OSError:
        # It only saves time.
        return


def load(url: str) -> dict[str, list[str]]:
    """Return the words of the commands of a host.

    :raises NotQuick: they are not kept
    """
    try:
        with open(_path(url), encoding="utf-8") as file:
            if json.loads(file.readline())[0] != url:
                raise NotQuick
            groups: dict[str, list[str]] = json.loads(file.readline())
            return groups
    except (OSError, ValueError, IndexError):
        raise NotQuick from None


def forget_other(url: str, revision: str) -> None:
    """Forget the words of a host whose API is another one by now."""
    try:
        with open(_path(url), encoding="utf-8") as file:
            known = json.loads(file.readline())
        if revision and known != [url, revision]:
            os.unlink(_path(url))
    except (OSError, ValueError):
        return


def _path(url: str) -> str:
    name = "".join(c if c.isalnum() else "_" for c in url)[-100:]
    return os.path.join(cache_folder(), f"{name}.words")
