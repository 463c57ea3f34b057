"""Reading small text files of the kernel below a root directory.

Every reader of this package takes a `Tree`, so that the same code reads the real `/` and a made-up one.
What is absent or unreadable is `None`: the kernel leaves out what the hardware or the configuration has
not, and the caller leaves the fact out in turn.
"""

from __future__ import annotations

from pathlib import Path


class Tree:
    """The files below `root`. Paths are relative to it, without a leading slash."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def text(self, path: str) -> str | None:
        """Return the file's text without surrounding white space, or None when it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            # Not only absence: reading `speed` of a link that is down is EINVAL.
            return None

    def integer(self, path: str) -> int | None:
        """Return the file's one decimal number, or None when there is none."""
        text = self.text(path)
        try:
            return int(text) if text is not None else None
        except ValueError:
            return None

    def lines(self, path: str) -> list[str]:
        """Return the file's lines; none when it cannot be read."""
        return (self.text(path) or "").splitlines()

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a directory; none when it cannot be read."""
        try:
            return sorted(entry.name for entry in (self.root / path).iterdir())
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        return (self.root / path).exists()


def number_list(text: str) -> list[int]:
    """Return the numbers of a kernel list such as `0-3,8`."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers
