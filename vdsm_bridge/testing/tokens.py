"""Bearer tokens for tests: one for each role."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

#: Role -> a token that has it. They open nothing but the hosts of tests.
TOKENS: Final = {role: f"test-token-of-{role}" for role in ("monitor", "operator", "admin")}


def write_tokens(folder: Path) -> Path:
    """Write the token file of `TOKENS`; its path, for `access.tokens`."""
    file = folder / "tokens"
    lines = [f"{role} {role} {hashlib.sha256(token.encode()).hexdigest()}" for role, token in TOKENS.items()]
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)
    return file
