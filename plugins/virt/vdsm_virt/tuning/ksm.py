"""Settings of the kernel's merging of equal pages (KSM), which only root may write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vdsm_core.errors import VdsmError
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_virt.privileged import KSM_RANGES, set_ksm
from vdsm_virt.tuning.errors import KSMUpdateFailed

_WORDS: Final = ", ".join(KSM_RANGES)


def tune(privileged: PrivilegedClient, values: Mapping[str, int | str]) -> None:
    """Write settings; those that are not named stay.

    :raises KSMUpdateFailed: one is not known or out of its range, or the kernel refuses it
    """
    numbers = {}
    for name, value in values.items():
        if name not in KSM_RANGES:
            raise KSMUpdateFailed(reason=f"there is no setting '{name}', only {_WORDS}")
        if not 0 <= int(value) <= KSM_RANGES[name]:
            reason = f"{name} is a number from 0 to {KSM_RANGES[name]}, not {value}"
            raise KSMUpdateFailed(reason=reason)
        numbers[name] = int(value)
    if not numbers:
        raise KSMUpdateFailed(reason=f"no setting is given, of {_WORDS}")
    try:
        refused = privileged.run(set_ksm, numbers)
    except VdsmError as error:
        raise KSMUpdateFailed(reason=str(error)) from error
    if refused:
        raise KSMUpdateFailed(reason=refused)
