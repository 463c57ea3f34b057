"""Secret texts: parameters and members that no log, event, error, file or reply may show."""

from __future__ import annotations

import hmac
from typing import Any, ClassVar, Final

#: What JSON of a secret is, where arguments are stored or compared. Never the secret.
NOT_KEPT: Final = "\0secret"


class Secret:
    """A text that is shown only by `reveal`.

    Annotate a parameter or a member with it, or with a subclass that has another bound::

        class Password(Secret, max_length=128):
            \"\"\"A password of a display.\"\"\"

    Its representation shows nothing; JSON of it (a stored task, the fingerprint of a request) has a
    placeholder. So a task with a secret among its arguments cannot go on after a restart, and the fingerprint
    of a request does not depend on the secret. A member that may be absent has the default `msgspec.UNSET`: a
    secret itself cannot be a default, which is part of the schema.
    """

    __slots__ = ("_text",)
    #: Characters at most.
    max_length: ClassVar[int] = 4096

    def __init_subclass__(cls, *, max_length: int = 4096) -> None:
        super().__init_subclass__()
        cls.max_length = max_length

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def read(cls, data: Any) -> Secret:
        """Make a secret of plain data.

        :raises ValueError: it is no text, too long, or the placeholder of a secret that was not stored
        """
        if not isinstance(data, str):
            kind = {list: "array", dict: "object", type(None): "null"}.get(type(data), type(data).__name__)
            raise ValueError(f"Expected `str`, got `{kind}`")  # noqa: TRY004 - msgspec adds the path to it
        if len(data) > cls.max_length:
            raise ValueError(f"Expected `str` of length <= {cls.max_length}")
        if data == NOT_KEPT:
            raise ValueError("secrets are not stored; send the request again")
        return cls(data)

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(_bytes(self), _bytes(other))

    def __hash__(self) -> int:
        return hash(self._text)

    def __deepcopy__(self, _memo: dict[int, Any]) -> Secret:
        return self  # immutable

    def __reduce__(self) -> Any:
        raise TypeError("a secret cannot be pickled")


def _bytes(secret: Secret) -> bytes:
    return secret.reveal().encode(errors="surrogatepass")
