"""Bulk statistics of all domains, as the rest of the project reads them."""

from __future__ import annotations

from vdsm_core.config import HypervisorOptions
from vdsm_core.hypervisor.domains.sampler import Sampler
from vdsm_core.hypervisor.models import Sample


class Stats:
    """Reads the samples that are taken in the background, or has one taken."""

    def __init__(self, options: HypervisorOptions, sampler: Sampler) -> None:
        self._options = options
        self._sampler = sampler

    def sample(self) -> Sample:
        """Return the newest statistics of all domains, at once, except before the first reading.

        :raises HypervisorUnavailable: nothing has been read yet, and libvirt is not reached
        :raises HypervisorDeadline: nothing has been read yet, and libvirt does not answer
        """
        sample = self._sampler.sample()
        return sample if sample.taken_at else self.refresh()

    def refresh(self, timeout: float | None = None) -> Sample:
        """Return statistics that were read after this call was made.

        :param timeout: seconds; without it, the configured `call_deadline`
        :raises HypervisorDeadline: libvirt did not answer in time
        :raises HypervisorUnavailable: libvirt is not reached
        """
        return self._sampler.refresh(self._options.call_deadline if timeout is None else timeout)
