"""What root does for hook scripts: it runs one of its own folder as the account of hook scripts.

Folder, account and limits are those of the helper's own configuration, `[plugin.hooks]`. The caller names a
point and a script; it cannot name a program.
"""

from __future__ import annotations

import pwd
import zlib
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from vdsm_core.errors import OperationFailed
from vdsm_core.privileged import operation, own_table
from vdsm_hooks import environment as environments
from vdsm_hooks.folder import check_owned_by_root
from vdsm_hooks.options import HookScriptOptions
from vdsm_hooks.run import execution
from vdsm_hooks.run.execution import Account, Outcome, Script

#: Bytes of a document as it travels: a request has at most 256 KiB.
MAX_COMPRESSED: Final = 160_000
#: Bytes of a document.
MAX_DOCUMENT: Final = 4 * 2**20
#: Seconds that one script may get at the most.
MAX_SECONDS: Final = 3_000.0
_POINT: Final = r"\A[a-z_]{1,64}\Z"
_SCRIPT: Final = r"\A(?!\.)[^/\x00-\x1f\x7f]{1,255}\Z"
_FOLDER: Final = r"\A/[^\x00-\x1f\x7f]*\Z"
_VARIABLE: Final = r"\A[A-Za-z_][A-Za-z0-9_]*\Z"
_VALUE: Final = r"\A[^\x00]*\Z"

Variable = Annotated[str, Meta(pattern=_VARIABLE, max_length=64)]
Value = Annotated[str, Meta(pattern=_VALUE, max_length=65_536)]


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A script that is to run.

    :ivar folder: the caller's folder of scripts, which has to be the helper's
    :ivar environment: variables of the script: custom properties, `vmId`, those of the call
    :ivar json: whether the document is JSON
    :ivar document: compressed by zlib; None for a point without one
    :ivar flags: launch flags; None at points that may not change them
    :ivar seconds: its time limit
    """

    folder: Annotated[str, Meta(pattern=_FOLDER, max_length=4_095)]
    point: Annotated[str, Meta(pattern=_POINT, max_length=64)]
    script: Annotated[str, Meta(pattern=_SCRIPT, max_length=255)]
    environment: Annotated[dict[Variable, Value], Meta(max_length=512)]
    json: bool
    document: Annotated[bytes, Meta(max_length=MAX_COMPRESSED)] | None
    flags: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None
    seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS)]


@operation(deadline=3_100.0, capabilities=("CAP_SETUID", "CAP_SETGID", "CAP_KILL"))
def run_script(order: Order) -> Outcome:
    """Run a hook script as the account of hook scripts."""
    options = _options()
    if order.folder != options.folder:
        raise OperationFailed(
            reason=f"the helper runs scripts of {options.folder}, and not of {order.folder}: folder in "
            "[plugin.hooks] of its own configuration"
        )
    for name in order.environment:
        if fault := environments.fault_of(name):
            raise OperationFailed(reason=f"the variable {name} is not given to a hook script: {fault}")
    root = Path(options.folder)
    target = check_owned_by_root(root / order.point / order.script, root)
    script = Script(
        path=target if target.name == order.script else root / order.point / order.script,
        environment={**environments.base(), **order.environment},
        variable="_hook_json" if order.json else "_hook_domxml",
        document=None if order.document is None else _inflated(order.document),
        flags=order.flags,
        seconds=order.seconds,
    )
    return execution.execute(script, options.limits(), _account(options.user))


def _options() -> HookScriptOptions:
    table: dict[str, Any] = {name: value for name, value in own_table().items() if name != "enabled"}
    try:
        return msgspec.convert(table, HookScriptOptions)
    except msgspec.ValidationError as error:
        raise OperationFailed(reason=f"[plugin.hooks] of the helper's configuration: {error}") from None


def _account(user: str) -> Account:
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise OperationFailed(
            reason=f"there is no account '{user}' for hook scripts: create it, or set user in [plugin.hooks]"
        ) from None
    return Account(found.pw_uid, found.pw_gid)


def _inflated(data: bytes) -> str:
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(data, MAX_DOCUMENT + 1)
        if len(text) > MAX_DOCUMENT or inflate.unconsumed_tail:
            raise OperationFailed(reason=f"the document has more than {MAX_DOCUMENT} bytes")
        return text.decode("utf-8")
    except (zlib.error, UnicodeDecodeError) as error:
        raise OperationFailed(reason=f"the document cannot be unpacked: {error}") from None
