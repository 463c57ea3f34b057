"""From options and environment to a host: its URL, its transport, the credentials."""

from __future__ import annotations

import importlib
import os
import shlex
import socket
import urllib.parse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from vdsm_bridge.transport import GROUP, Credentials, NoTransport, Transport, open_transport
from vdsmsh.errors import UsageError

URL: Final = "VDSM_URL"
TOKEN: Final = "VDSM_TOKEN"  # noqa: S105 - the name of a variable, not a token
#: Options with files for TLS: the member of the credentials, and the variable of the environment.
_TLS_FILES: Final = {
    "--ca": ("ca", "VDSM_CA"),
    "--cert": ("certificate", "VDSM_CERT"),
    "--key": ("key", "VDSM_KEY"),
}
_SOCKET: Final = "api.sock"
_LAST: Final = "http://127.0.0.1:8088"
#: The package of a scheme that another distribution of ours serves.
_OTHERS: Final = {
    "amqp": "vdsm-qmf",
    "amqps": "vdsm-qmf",
    "xmlrpc": "vdsm-xmlrpc",
    "xmlrpcs": "vdsm-xmlrpc",
}


def choose_url(given: str, environment: Mapping[str, str] = os.environ, *, token: bool = False) -> str:
    """Return the URL of the host: the one given, else `VDSM_URL`, else that of the daemon on this machine.

    :param token: whether there is a token, which gives access over TCP to users without access to the socket
    """
    return given or environment.get(URL, "") or _local(token=token)


def credentials(token_file: str, environment: Mapping[str, str] = os.environ) -> Credentials:
    """Return the bearer token: that of the file given, else that in `VDSM_TOKEN`.

    :raises UsageError: the file cannot be read
    """
    if token_file:
        try:
            token = Path(token_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UsageError(f"cannot read the token file {token_file}: {reason}") from None
        return Credentials(token=token, token_source=f"$(cat {shlex.quote(token_file)})")
    token = environment.get(TOKEN, "").strip()
    return Credentials(token=token, token_source=f"${TOKEN}" if token else "")


def add_tls_files(
    proof: Credentials, connection: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> Credentials:
    """Return the credentials with the files for TLS: those given, else those of the environment."""
    files = {
        member: connection.get(flag, "") or environment.get(variable, "")
        for flag, (member, variable) in _TLS_FILES.items()
    }
    return replace(proof, **files)


def connect(url: str, proof: Credentials) -> Transport:
    """Return the transport of the scheme of a URL.

    :raises UsageError: no installed distribution serves the scheme, or its transport cannot be loaded
    """
    try:
        return open_transport(url, proof)
    except NoTransport as error:
        reason = str(error) if error.installed else _unknown(url, urllib.parse.urlsplit(url).scheme)
        raise UsageError(reason) from None


def _unknown(url: str, scheme: str) -> str:
    if not scheme:
        return (
            f"'{url}' is not a URL: put a scheme before it, as in http://{url} or unix:///run/vdsm/api.sock"
        )
    package = _OTHERS.get(scheme, f"a package that offers the entry point '{scheme}' in {GROUP}")
    return f"cannot reach {url}: no installed package serves {scheme}:// URLs; install {package}"


def _local(*, token: bool) -> str:
    # Import it here: it takes a third of the start-up, and a line with a URL does without.
    configuration = importlib.import_module("vdsm_bridge.config")
    try:
        config = configuration.load()
    except Exception:  # noqa: BLE001 - the daemon reports errors of its file; a client tries the default
        return _first([str(Path(configuration.SYSTEM_RUN) / _SOCKET)], {}, token=token)
    options = config.plugin.get("rest", {})
    own = options.get("socket") or str(Path(config.daemon.run_dir) / _SOCKET)
    return _first([own, str(Path(configuration.SYSTEM_RUN) / _SOCKET)], options, token=token)


def _first(sockets: list[str], options: Mapping[str, Any], *, token: bool) -> str:
    for path in sockets:
        if _listens(path, forbidden=not token):
            return "unix://" + urllib.parse.quote(str(Path(path).absolute()))
    if {"address", "port", "tls"} & set(options):
        addresses = options.get("address") or "127.0.0.1"
        address = addresses if isinstance(addresses, str) else addresses[0]
        host = f"[{address}]" if ":" in address else address
        scheme = "https" if options.get("tls") == "required" else "http"
        return f"{scheme}://{host}:{options.get('port', 8088)}"
    return _LAST


def _listens(path: str, *, forbidden: bool) -> bool:
    """Return whether a process listens on a socket; `forbidden` if this user may not connect."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except PermissionError:
            # Without a token, TCP would answer that credentials are missing; the socket names its group.
            return forbidden
        except OSError:
            return False
    return True
