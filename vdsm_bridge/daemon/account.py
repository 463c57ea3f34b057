"""The account that the daemon runs under, and giving up root's powers.

A service manager starts `vdsmd` under its account. Where root starts it, this module does what the service
manager would have done: it starts the privileged helper, hands over the folders, and changes to the account
for good.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import site
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from vdsm_core.config import SYSTEM_HELPER, Config, is_service
from vdsm_core.errors import ConfigError
from vdsm_core.privileged import capabilities
from vdsm_core.privileged.launch import OwnHelper
from vdsm_core.state import MEMORY

log = logging.getLogger("vdsm")

#: The name that keeps the user id of root.
ROOT: Final = "root"
#: Folders that no mistake in the configuration shall give away.
_OF_THE_SYSTEM: Final = frozenset(
    Path("/", name) for name in ("", "etc", "home", "root", "run", "usr", "var", "var/lib")
)
_FOLDER_MODES: Final = {"state_dir": 0o700, "run_dir": 0o750}


def leave_root(config: Config, place: Path | None) -> OwnHelper | None:
    """Change to the account of the configuration, if root has started this process.

    Call it before any thread is started: capabilities are those of a thread.

    :param place: of the configuration, as `--config` has it
    :returns: the helper that was started, unless the configuration names another one
    :raises ConfigError: there is no such account, a folder cannot be handed over, or no helper can be started
    """
    if os.geteuid() != 0:
        return None
    account = _account(config)
    helper = _start_helper(config, account, place)
    try:
        # While it may: without the user id of root it holds no capability to do so.
        capabilities.limit_bounding(0)
        if account.pw_uid:
            for option, mode in _FOLDER_MODES.items():
                _hand_over(option, getattr(config.daemon, option), mode, account)
            _change_to(account, config.daemon.groups)
        # What is left of root owns root's files, and can do nothing to those of others.
        capabilities.limit(0)
    except BaseException:
        if helper is not None:
            helper.stop(0.0)
        raise
    return helper


def _account(config: Config) -> pwd.struct_passwd:
    name = config.daemon.user
    try:
        return pwd.getpwnam(name)
    except KeyError:
        if "daemon.user" in config.origin or is_service():
            reason = (
                f"there is no account '{name}'. Create it, for example with `useradd --system {name}`, "
                'name another one, or set "root" to keep the user id'
            )
            raise ConfigError(
                file=config.origin.get("daemon.user", "(defaults)"), key="daemon.user", reason=reason
            ) from None
    log.warning(
        "RUNNING AS ROOT, without capabilities: there is no account '%s'. Create it, or set user in [daemon] "
        'to another account, or to "root" to keep the user id without this warning',
        name,
    )
    return pwd.getpwuid(0)


def _start_helper(config: Config, account: pwd.struct_passwd, place: Path | None) -> OwnHelper | None:
    chosen = config.daemon.helper_socket
    if chosen != SYSTEM_HELPER:
        return None
    helper = OwnHelper(account.pw_uid, place)
    try:
        helper.start()
    except OSError as error:
        reason = f"the privileged helper cannot be started: {error}"
        raise ConfigError(file="(defaults)", key="daemon.helper_socket", reason=reason) from None
    return helper


def _hand_over(option: str, folder: str, mode: int, account: pwd.struct_passwd) -> None:
    """Make a folder, or give one of root's with all that is in it to an account. Links are not followed.

    An earlier release ran as root, and left such folders. One of another owner stays as it is.
    """
    if folder in {"", MEMORY}:
        return
    path = Path(folder)
    try:
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(mode)
        owner = path.stat().st_uid
        if owner != 0:
            return
        _check_path(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            changed = sum(1 for _ in _give(descriptor, account))
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = f"it cannot be handed over to the account '{account.pw_name}': {error.strerror or error}"
        raise ConfigError(file=folder, key=f"daemon.{option}", reason=reason) from None
    log.info("%s and %d files in it belong to the account '%s' now", folder, changed - 1, account.pw_name)


def _check_path(path: Path) -> None:
    """Refuse to give away a folder of the system."""
    if path.resolve() in _OF_THE_SYSTEM:
        raise OSError(None, "it is a folder of the system. Name one that is the daemon's own")


def _give(folder: int, account: pwd.struct_passwd) -> Iterator[None]:
    """Give a folder and what is in it to an account; the folder last, which shuts others out till then."""
    for entry in list(os.scandir(folder)):
        found = entry.stat(follow_symlinks=False)
        if found.st_uid != 0:
            continue
        if stat.S_ISDIR(found.st_mode):
            below = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                yield from _give(below, account)
            finally:
                os.close(below)
        elif found.st_nlink == 1 or not stat.S_ISREG(found.st_mode):
            # A file of several names may be one of the system's.
            os.chown(entry.name, account.pw_uid, account.pw_gid, dir_fd=folder, follow_symlinks=False)
            yield
    os.fchown(folder, account.pw_uid, account.pw_gid)
    yield


def _check_code(account: pwd.struct_passwd) -> None:
    """Look for plugins and modules only where the account may; what is in root's own folders is not for it.

    :raises ConfigError: it cannot read Python itself
    """
    if not os.access(os.__file__, os.R_OK):
        reason = f"the account '{account.pw_name}' cannot read {Path(os.__file__).parent}. Name one that can"
        raise ConfigError(file="(command line)", key="daemon.user", reason=reason)
    site.ENABLE_USER_SITE = False
    sys.path[:] = [each for each in sys.path if os.access(each or ".", os.R_OK | os.X_OK)]
    sys.path_importer_cache.clear()


def _change_to(account: pwd.struct_passwd, groups: Sequence[str]) -> None:
    further = set(os.getgrouplist(account.pw_name, account.pw_gid))
    for name in groups:
        with suppress(KeyError):
            further.add(grp.getgrnam(name).gr_gid)
    os.setgroups(sorted(further))
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    _check_code(account)
    os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    log.info("Running as the account '%s'", account.pw_name)
