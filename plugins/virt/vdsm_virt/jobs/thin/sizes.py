"""How volumes grow: when they are extended, and to which size. All sizes are in bytes."""

from __future__ import annotations

from typing import Final

import msgspec

from vdsm_core.volumes import VolumeInfo

MIB: Final = 2**20
#: What the tables of qcow2 may need beyond the data: VDSM's figure.
_OVERHEAD: Final = 1.1


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """VDSM's rules of thin volumes.

    :ivar chunk: by which a volume grows
    :ivar free: share of the chunk, in percent, below which a volume is extended
    """

    chunk: int = 2560 * MIB
    free: int = 80

    def limit(self, *, mirrored: bool) -> int:
        """Return the free space below which a volume is extended; more for a mirrored disk."""
        return self.step(mirrored=mirrored) * self.free // 100

    def step(self, *, mirrored: bool) -> int:
        """Return by how much a volume grows."""
        return 2 * self.chunk if mirrored else self.chunk

    def threshold(self, physical: int, *, mirrored: bool) -> int:
        """Return the offset at whose writing a volume is extended.

        :param physical: size of the volume
        """
        return max(1, physical - self.limit(mirrored=mirrored))

    def maximum(self, capacity: int) -> int:
        """Return the size beyond which a volume never grows.

        :param capacity: size that the guest sees
        """
        return _rounded_up(int(capacity * _OVERHEAD))

    def next_size(self, physical: int, capacity: int, *, mirrored: bool) -> int:
        """Return the size that a volume is extended to."""
        return min(_rounded_up(physical + self.step(mirrored=mirrored)), self.maximum(capacity))

    def for_merge(self, base: VolumeInfo, top: VolumeInfo, *, active: bool) -> int:
        """Return the size that a base needs to take all of another volume: the sum is never too little.

        :param active: whether the guest writes on meanwhile
        """
        size = base.apparent_size + top.apparent_size + (self.chunk if active else 0)
        return min(_rounded_up(size), self.maximum(max(base.capacity, top.capacity)))


def _rounded_up(size: int) -> int:
    return -(-size // MIB) * MIB
