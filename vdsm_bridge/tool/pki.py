"""`vdsm-tool pki`: create a CA and certificates for this host and for clients, and revoke them.

For trials, and for a few hosts. A site that has a CA installs its own files at the same paths.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import importlib
import json
import os
import pwd
import re
import shlex
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from vdsm_bridge.call.context import ROLES
from vdsm_bridge.tool.console import DONE, FAILED, Commands, print_error, print_line
from vdsm_core.config import SERVICE_ACCOUNT, default_pki_dir

#: Days that a CA is valid: the maximum for the certificates that it signs, too.
_CA_DAYS: Final = 3_650
_DAYS: Final = 365
_CA: Final = "certs/cacert.pem"
_CA_KEY: Final = "keys/cakey.pem"
_CERTIFICATE: Final = "certs/vdsmcert.pem"
_KEY: Final = "keys/vdsmkey.pem"
_CRL: Final = "certs/crl.pem"
#: Names that are valid as a folder, a common name and a key of TOML.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HOST: Final = re.compile(r"[A-Za-z0-9*]([A-Za-z0-9.:_-]{0,251}[A-Za-z0-9])?|::1?")


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    pki = commands.add_parser("pki", help="make certificates for TLS, for trials")
    words = pki.add_subparsers(required=True, metavar="COMMAND")
    init = words.add_parser("init", help="make a CA, and a certificate of this host")
    init.add_argument(
        "--host",
        action="extend",
        nargs="+",
        default=[],
        type=_host,
        metavar="NAME",
        help="names and addresses that clients use, besides those of this machine and localhost",
    )
    init.set_defaults(run=_init)
    client = words.add_parser("client", help="make a certificate of a client")
    client.add_argument("name", metavar="NAME", type=_name, help="common name of the client")
    client.add_argument(
        "--role",
        choices=ROLES,
        default="operator",
        help=f"role of the client: {', '.join(ROLES)}; default: operator",
    )
    client.set_defaults(run=_client)
    revoke = words.add_parser("revoke", help="revoke a certificate of the CA")
    revoke.add_argument(
        "certificate", metavar="NAME|FILE", help="name of a client, or file with the certificate in PEM form"
    )
    revoke.set_defaults(run=_revoke)
    for each in (init, client, revoke):
        each.add_argument(
            "--dir",
            type=Path,
            metavar="FOLDER",
            help="folder of the CA; default: that of [tls]",
        )
    for each in (init, client):
        each.add_argument(
            "--days",
            type=_days,
            default=_DAYS,
            metavar="DAYS",
            help=f"days that the certificate is valid; default: {_DAYS}",
        )


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"'{text}' is neither a host name nor an address")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("a name consists of up to 64 letters, digits and ._@-")
    return text


def _days(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _CA_DAYS:
        raise argparse.ArgumentTypeError(f"a number from 1 to {_CA_DAYS}")
    return int(text)


def _init(options: argparse.Namespace) -> int:
    library = _library()
    if library is None:
        return FAILED
    folder: Path = options.dir or default_pki_dir()
    _insist_on_none(folder / file for file in (_CA, _CA_KEY, _CERTIFICATE, _KEY))
    own = [socket.gethostname(), socket.getfqdn(), "localhost", "127.0.0.1", "::1"]
    names = list(dict.fromkeys([*options.host, *own]))
    ca = library.Authority.create(f"vdsm CA of {socket.gethostname()}"[:64], days=_CA_DAYS)
    host = ca.issue(names[0][:64], purpose="host", days=options.days, alternative_names=names)
    _write(folder / _CA_KEY, ca.files.key)
    _write(folder / _CA, ca.files.certificate, mode=0o644)
    _write(folder / _KEY, host.key)
    _write(folder / _CERTIFICATE, host.certificate, mode=0o644)
    _share_with_daemon(folder / _KEY)
    print_line(f"A certificate for {', '.join(names)}, valid for {options.days} days:")
    for file in (_CA, _CA_KEY, _CERTIFICATE, _KEY):
        print_line(f"  {folder / file}")
    print_line("\nFor the configuration, with the address that clients use:")
    if folder != default_pki_dir():
        print_line("  [tls]")
        for key, file in (("certificate", _CERTIFICATE), ("key", _KEY), ("ca", _CA)):
            print_line(f"  {key} = {json.dumps(str((folder / file).absolute()))}")
    print_line('  [plugin.rest]\n  address = "0.0.0.0"\n  tls = "required"')
    print_line("\nThen `vdsm-tool reload`, and for each client `vdsm-tool pki client NAME --role ROLE`.")
    return DONE


def _client(options: argparse.Namespace) -> int:
    library = _library()
    if library is None:
        return FAILED
    folder: Path = options.dir or default_pki_dir()
    target = folder / "clients" / options.name
    _insist_on_none(target / file for file in ("cert.pem", "key.pem", "ca.pem"))
    certificate = (folder / _CA).read_bytes()
    try:
        ca = library.Authority.load(certificate, (folder / _CA_KEY).read_bytes())
        host = library.common_name((folder / _CERTIFICATE).read_bytes())
    except ValueError as error:
        print_error(f"Cannot use the files in {folder}: {error}")
        return FAILED
    issued = ca.issue(options.name, purpose="client", days=options.days)
    _write(target / "key.pem", issued.key)
    _write(target / "cert.pem", issued.certificate)
    _write(target / "ca.pem", certificate)
    print_line(f"A certificate of the client {options.name}, valid for {options.days} days:\n  {target}")
    print_line("\nFor the configuration of the host, then `vdsm-tool reload`:")
    rule = json.dumps(f"CN={options.name}")
    print_line(f'  [access.certificates]\n  {rule} = "{options.role}"')
    print_line("\nTo call, with this folder at the client:")
    where = shlex.quote(str(target.absolute()))
    url = f"https://[{host}]:8088" if ":" in host else f"https://{host}:8088"
    print_line(
        f"  vdsmsh --url {url} --ca {where}/ca.pem --cert {where}/cert.pem --key {where}/key.pem host ping"
    )
    print_line(
        f"  curl --cacert {where}/ca.pem --cert {where}/cert.pem --key {where}/key.pem {url}/api/openapi.json"
    )
    return DONE


def _revoke(options: argparse.Namespace) -> int:
    library = _library()
    if library is None:
        return FAILED
    folder: Path = options.dir or default_pki_dir()
    file = folder / "clients" / options.certificate / "cert.pem"
    if not _NAME.fullmatch(options.certificate) or not file.exists():
        file = Path(options.certificate)
        if not file.exists():
            where = folder / "clients"
            print_error(f"{file}: there is neither such a file nor a client of this name in {where}")
            return FAILED
    target = folder / _CRL
    with open(folder / _CA_KEY, "rb") as key:  # noqa: PTH123 - it is locked, too
        # Of two at a time, the second one must see the list of the first.
        fcntl.flock(key, fcntl.LOCK_EX)
        certificate = file.read_bytes()
        earlier = target.read_bytes() if target.exists() else None
        try:
            ca = library.Authority.load((folder / _CA).read_bytes(), key.read())
            lists = ca.revoke(certificate, earlier)
            name = library.common_name(certificate)
        except ValueError as error:
            print_error(f"Cannot revoke {file} with the CA in {folder}: {error}")
            return FAILED
        if lists is None:
            print_line(f"The certificate of {name} is revoked already:\n  {target}")
            return DONE
        _replace(target, lists)
    print_line(f"The certificate of {name} is revoked:\n  {target}")
    if earlier is None:
        print_line("\nFor the configuration, then `vdsm-tool reload`:")
        print_line(f"  [tls]\n  crl = {json.dumps(str(target.absolute()))}")
    return DONE


def _library() -> Any:
    """Return the module that makes certificates; None if its library is not installed."""
    try:
        return importlib.import_module("vdsm_bridge.tool.pki_authority")
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        print_error(
            f"Cannot make certificates without the Python library {library}: install python3-{library}"
        )
        return None


def _insist_on_none(paths: Iterable[Path]) -> None:
    """Ensure that no file is overwritten.

    :raises FileExistsError: one of the files exists
    """
    for path in paths:
        if path.exists():
            raise FileExistsError(errno.EEXIST, "the file exists and is not overwritten", str(path))


def _share_with_daemon(key: Path) -> None:
    """Let the account of the service read a key that root has written, without owning it."""
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            group = pwd.getpwnam(SERVICE_ACCOUNT).pw_gid
            for path, mode in ((key.parent, 0o710), (key, 0o640)):
                os.chown(path, 0, group)
                path.chmod(mode)


def _make_folder(path: Path, mode: int) -> None:
    """Create a folder that is absent. All users can pass through parents that have to be created, too."""
    if not path.exists():
        _make_folder(path.parent, 0o755)
        path.mkdir()
        path.chmod(mode)  # mkdir() applies the umask


def _write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a new file. Folders of keys and of clients are closed to others."""
    private = mode == 0o600
    _make_folder(path.parent, 0o700 if private else 0o755)
    _write_new(path, content, mode)


def _replace(path: Path, content: bytes) -> None:
    """Replace a file for all to read, or write a new one, in one step."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    _write_new(fresh, content, 0o644)
    fresh.replace(path)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        # open() applies the umask to the mode.
        os.fchmod(descriptor, mode)
        file.write(content)
