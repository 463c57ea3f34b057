"""What VDSM's old protocols need to know about a verb: declared with the verb, read by their bindings.

A `LegacyMethod` is a name of its own, with positional arguments and a reply in an envelope (XML-RPC). A
`LegacyForm` is how VDSM's bridge called the verb by its full name (JSON-RPC), where that does not follow from
the rest of the declaration.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import msgspec

from vdsm_core.errors import VdsmError

#: The index in the path of an argument: "devices[3].path".
_INDEX: Final = re.compile(r"\[[0-9]+\]")
#: A full name of a verb has a dot, so no old name is ever taken for one.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class LegacyMethod(msgspec.Struct, frozen=True):
    """An old name of a verb, and the form of its calls and replies. No two verbs have the same one.

    :ivar name: the method
    :ivar args: the verb's parameter for each position, `IGNORED` for none; by default all, as declared
    :ivar reply: member of the reply, beside the status, that holds the result; empty: none does
    :ivar members: members of the result that stand beside the status themselves
    :ivar shape: "array": the result stands in an array of one
    :ivar fixed: members of the reply that never change
    :ivar message: sentence of the status on success; by default the verb's own
    :ivar codes: VDSM's code for an argument that is not acceptable, by its name or the beginning of its path,
        such as "vmParams.devices[].device"; the longest counts. Others have the code of the error
    :ivar id_inside: the only argument is a struct, and its member of this name is the id of the object
    """

    #: A position that is accepted and ignored, such as a trailing `options`.
    IGNORED: ClassVar[str] = ""

    name: str
    args: tuple[str, ...] | None = None
    reply: str = ""
    members: tuple[str, ...] = ()
    shape: Literal["plain", "array"] = "plain"
    fixed: Mapping[str, Any] = {}
    message: str = ""
    id_inside: str = ""
    codes: Mapping[str, int] = {}

    def code_of(self, error: VdsmError) -> int:
        """Return the code of an error of this method."""
        argument = error.facts.get("argument")
        if not self.codes or not isinstance(argument, str):
            return error.code
        path = _INDEX.sub("[]", argument)
        found = [
            begin for begin in self.codes if path == begin or path.startswith((f"{begin}.", f"{begin}["))
        ]
        return self.codes[max(found, key=len)] if found else error.code


class LegacyForm(msgspec.Struct, frozen=True, kw_only=True):
    """How VDSM's bridge called a verb by its full name.

    :ivar order: the parameters by position; by default as declared
    :ivar member: member of VDSM's reply that was the result, `STATUS` for the status itself; by default that
        of the first `LegacyMethod`. Empty: the reply had none, and the result was true
    :ivar constant: the result, where it was always the same
    """

    #: The member of a verb whose result was the status itself: a struct of code and message.
    STATUS: ClassVar[str] = "status"

    order: tuple[str, ...] = ()
    member: str = ""
    constant: Mapping[str, Any] | None = None


#: What a decorator takes.
Legacy = LegacyMethod | LegacyForm | Sequence[LegacyMethod | LegacyForm]


def listed(legacy: Legacy) -> tuple[LegacyMethod | LegacyForm, ...]:
    """Return what a decorator was given as a tuple."""
    return (legacy,) if isinstance(legacy, LegacyMethod | LegacyForm) else tuple(legacy)


def complete(
    legacy: Sequence[LegacyMethod | LegacyForm], params: Sequence[str], result_members: Collection[str]
) -> tuple[tuple[LegacyMethod, ...], LegacyForm]:
    """Return what a verb declares with its defaults filled in.

    :param params: wire names of the verb's parameters, as declared
    :param result_members: wire names of the members of its result
    :raises TypeError: it speaks of something that the verb does not have
    """
    methods = []
    for method in legacy:
        if isinstance(method, LegacyMethod):
            args = tuple(params) if method.args is None else method.args
            methods.append(msgspec.structs.replace(method, args=args))
            _check_method(methods[-1], params, result_members)
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise TypeError(f"an old name stands twice: {', '.join(names)}")
    forms = [form for form in legacy if isinstance(form, LegacyForm)]
    if len(forms) > 1:
        raise TypeError("more than one LegacyForm")
    form = forms[0] if forms else LegacyForm()
    _check_names("LegacyForm", form.order, params)
    member = form.member or next((method.reply for method in methods if method.reply), "")
    return tuple(methods), msgspec.structs.replace(form, order=form.order or tuple(params), member=member)


def _check_method(method: LegacyMethod, params: Sequence[str], result_members: Collection[str]) -> None:
    if not _NAME.fullmatch(method.name):
        raise TypeError(f"the old name '{method.name}' is no name of letters, digits and underscores")
    args = [name for name in method.args or () if name != LegacyMethod.IGNORED]
    _check_names(f"the old name '{method.name}'", args, params)
    if method.id_inside and len(args) != 1:
        raise TypeError(f"the old name '{method.name}' has id_inside, so it takes exactly one argument")
    if unknown := set(method.members) - set(result_members):
        raise TypeError(f"the result has no member '{min(unknown)}' for the old name '{method.name}'")


def _check_names(what: str, names: Sequence[str], params: Sequence[str]) -> None:
    if unknown := set(names) - set(params):
        raise TypeError(f"{what} has an argument '{min(unknown)}', which is no parameter of the verb")
    if len(set(names)) < len(names):
        raise TypeError(f"{what} has an argument twice")
