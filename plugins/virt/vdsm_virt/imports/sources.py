"""What an import may read: URIs of hypervisors by their schemes, files beneath configured folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from vdsm_core.errors import InvalidArgument


class ImportSources:
    """Checks where an import comes from.

    :param schemes: of the URIs that may be read, without their `://`
    :param folders: with the OVA files and driver images that may be read
    """

    def __init__(self, schemes: Sequence[str], folders: Sequence[str]) -> None:
        self._schemes = tuple(schemes)
        self._folders = tuple(folders)

    def check_uri(self, uri: str) -> None:
        """Refuse a URI that could run a command, read a file, or show a password.

        libvirt takes a program (`command`), a socket or a key file from the query of a URI.

        :raises InvalidArgument: its scheme is not configured, or it has parts that are not accepted
        """
        if not uri.isprintable() or not uri.isascii() or len(uri) > 1024:
            raise InvalidArgument(argument="uri", reason="it is not a URI")
        try:
            parts = urlsplit(uri)
            password = parts.password
        except ValueError as error:
            raise InvalidArgument(argument="uri", reason=f"it is not a URI: {error}") from None
        if parts.scheme not in self._schemes:
            allowed = ", ".join(self._schemes) or "none"
            reason = f"the scheme '{parts.scheme}' is not among [plugin.virt] import_schemes ({allowed})"
            raise InvalidArgument(argument="uri", reason=reason)
        if parts.query or parts.fragment or "?" in uri or "#" in uri:
            raise InvalidArgument(argument="uri", reason="parameters of a URI are not accepted")
        if password is not None:
            raise InvalidArgument(argument="uri", reason="give the password as 'password', not in the URI")
        host = parts.hostname or ""
        if host.startswith("-") or (parts.username or "").startswith("-"):
            raise InvalidArgument(argument="uri", reason="neither user nor host may begin with '-'")

    def path(self, path: str, argument: str) -> Path:
        """Return a path without links, which lies beneath a configured folder.

        :raises InvalidArgument: it does not, or does not exist
        """
        if not self._folders:
            raise InvalidArgument(
                argument=argument, reason="no folder is configured ([plugin.virt] import_folders)"
            )
        try:
            resolved = Path(path).resolve(strict=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InvalidArgument(argument=argument, reason=f"'{path}': {reason}") from None
        if not any(resolved.is_relative_to(os.path.realpath(folder)) for folder in self._folders):
            reason = f"'{path}' is not beneath [plugin.virt] import_folders"
            raise InvalidArgument(argument=argument, reason=reason)
        return resolved
