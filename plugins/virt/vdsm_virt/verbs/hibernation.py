"""The verb of `VM` that saves a machine."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action
from vdsm_bridge.api.legacy import LegacyMethod
from vdsm_bridge.call.context import Context
from vdsm_core.types import UUID
from vdsm_virt.jobs.hibernation import Hibernations
from vdsm_virt.verbs.vm import VM

HibernationVolumeHandle = Annotated[
    str,
    Meta(
        max_length=1024,
        description="Six ids, joined by commas: storage domain, pool, image and volume of the memory, image "
        "and volume of the parameters.",
    ),
]


class Hibernation(Namespace, group_of=VM):
    """Save a machine to volumes."""

    def __init__(self, hibernations: Hibernations) -> None:
        self._hibernations = hibernations

    # Closed: the volumes may be those of any machine.
    @action(
        since="1.0",
        scope="closed",
        legacy=LegacyMethod("hibernate", args=("vmID", "hibernationVolHandle")),
    )
    def hibernate(
        self, vm_id: UUID, hibernation_vol_handle: HibernationVolumeHandle, context: Context
    ) -> None:
        """Save the memory of a machine and its parameters to volumes, and end it.

        Returns at once. Status "Saving State" is followed by "Down" with reason 5, or by the status before
        if it fails. `VM.create` with `hiberVolHandle` lets it go on.

        :param hibernation_vol_handle: the volumes; they exist, and are overwritten
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises HibernationFailed: it cannot be saved in its present status
        """
        self._hibernations.hibernate(vm_id.lower(), hibernation_vol_handle, context)
