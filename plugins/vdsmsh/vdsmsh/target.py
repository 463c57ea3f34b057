"""Which host is meant, how it is reached, and with what credentials."""

from __future__ import annotations

import importlib
import os
import shlex
import socket
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stevedore import DriverManager
from stevedore.exception import NoMatches

from vdsm_bridge.transport import GROUP, Credentials, Transport
from vdsmsh.failures import UsageError

URL: Final = "VDSM_URL"
TOKEN: Final = "VDSM_TOKEN"  # noqa: S105 - the name of a variable, not a token
_SOCKET: Final = "api.sock"
_LAST: Final = "http://127.0.0.1:8088"
#: What to install for a scheme that other distributions serve.
_OTHERS: Final = {"amqp": "vdsm-qmf", "amqps": "vdsm-qmf"}


def choose_url(given: str, environment: Mapping[str, str] = os.environ, *, token: bool = False) -> str:
    """The URL of the host: the one given, else `VDSM_URL`, else the host that runs on this machine.

    :param token: whether there is a token: it serves over TCP where the user may not use the unix socket
    """
    return given or environment.get(URL, "") or _local(token=token)


def credentials(token_file: str, environment: Mapping[str, str] = os.environ) -> Credentials:
    """The bearer token: from the file given, else from `VDSM_TOKEN`.

    :raises UsageError: the file cannot be read
    """
    if token_file:
        try:
            token = Path(token_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise UsageError(f"--token-file {token_file}: {reason}") from None
        return Credentials(token=token, token_source=f"$(cat {shlex.quote(token_file)})")
    token = environment.get(TOKEN, "").strip()
    return Credentials(token=token, token_source=f"${TOKEN}" if token else "")


def connect(url: str, proof: Credentials) -> Transport:
    """The transport that serves the scheme of a URL.

    :raises UsageError: no installed distribution serves it
    """
    scheme = urllib.parse.urlsplit(url).scheme
    try:
        driver: type[Transport] = DriverManager(GROUP, scheme, on_load_failure_callback=_broken).driver
    except NoMatches:
        raise UsageError(_unknown(url, scheme)) from None
    return driver(url, proof)


def _unknown(url: str, scheme: str) -> str:
    if not scheme:
        return f"'{url}' is no URL: it begins with a scheme, as in http://{url} or unix:///run/vdsm/api.sock"
    package = _OTHERS.get(scheme, f"a package that offers the entry point '{scheme}' in {GROUP}")
    return f"nothing installed here can reach {scheme}:// URLs; install {package}"


def _broken(_manager: Any, entry_point: Any, error: Exception) -> None:
    raise UsageError(f"the transport {entry_point.value} cannot be loaded: {error}") from None


def _local(*, token: bool) -> str:
    # The configuration costs a third of the start-up; whoever gives a URL does not need it.
    configuration = importlib.import_module("vdsm_bridge.config")
    try:
        config = configuration.load()
    except Exception:  # noqa: BLE001 - what the daemon thinks of its own file is no concern of a client
        return _first([str(Path(configuration.SYSTEM_RUN) / _SOCKET)], {}, token=token)
    options = config.plugin.get("rest", {})
    own = options.get("socket") or str(Path(config.daemon.run_dir) / _SOCKET)
    return _first([own, str(Path(configuration.SYSTEM_RUN) / _SOCKET)], options, token=token)


def _first(sockets: list[str], options: Mapping[str, Any], *, token: bool) -> str:
    for path in sockets:
        if _listens(path, forbidden=not token):
            return "unix://" + urllib.parse.quote(str(Path(path).absolute()))
    if "address" in options or "port" in options:
        addresses = options.get("address") or "127.0.0.1"
        address = addresses if isinstance(addresses, str) else addresses[0]
        host = f"[{address}]" if ":" in address else address
        return f"http://{host}:{options.get('port', 8088)}"
    return _LAST


def _listens(path: str, *, forbidden: bool) -> bool:
    """Return whether somebody listens there; `forbidden` if this user may not know."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except PermissionError:
            # Over TCP, a caller without a token would only read that credentials are needed.
            return forbidden
        except OSError:
            return False
    return True
