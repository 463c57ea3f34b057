"""Declaring verbs: a namespace is a class, a verb is a decorated, typed method of it.

::

    class Light(Namespace, key="lightID", plural="lights"):
        \"\"\"A lamp in the machine room.\"\"\"

        @action(access="operator", since="1.0")
        def dim(self, light_id: UUID, percent: Annotated[int, Meta(ge=0, le=100)] = 50) -> None:
            \"\"\"Set the brightness.

            :param percent: of full brightness
            :raises NoSuchLight: no lamp has this id
            \"\"\"

From this one declaration come the check of the arguments, the wire names of every binding, the schema and
the documentation. Wire names are derived (`light_id` -> `lightID`, `dim`); an irregular one is given with
``name=`` or ``names=``. A parameter annotated `Context` gets the context of the call, one annotated
`Progress` the handle of the task; neither is part of the API.
"""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, ClassVar, Final, Literal, ParamSpec, TypeVar

import msgspec

from vdsm_bridge.api.docstrings import Docstring, parse_docstring
from vdsm_bridge.api.schema import type_schema
from vdsm_bridge.call.context import ROLES, Context, Role
from vdsm_core import types
from vdsm_core.deprecated import VERBS, described, warn_of_argument
from vdsm_core.errors import VdsmError, tree
from vdsm_core.work.references import Lock, Reference
from vdsm_core.work.steps import Progress

P = ParamSpec("P")
R = TypeVar("R")

#: What a verb does to the collection or item that its namespace stands for.
Part = Literal["list", "get", "create", "delete", ""]
_ATTRIBUTE: Final = "__vdsm_verb__"
_ABSENT: Final = object()


class Kind(StrEnum):
    """What calling a verb means."""

    QUERY = "query"  # safe and repeatable
    ACTION = "action"  # changes something; on one object, one after the other
    TASK = "task"  # starts long work and returns its id at once


#: Gives the locks of a call from its arguments, by their names in Python.
LocksOf = Callable[[Mapping[str, Any]], Iterable[Lock]]
#: Gives the error of a verb that is called while long work runs, or None: it waits. Takes the arguments of
#: the long work, and the full name of that verb.
RefusalOf = Callable[[Mapping[str, Any], str], VdsmError | None]


def no_locks(_arguments: Mapping[str, Any]) -> Iterable[Lock]:
    """Lock nothing: for actions that run beside any other one."""
    return ()


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a decorator says of a verb."""

    kind: Kind
    access: Role
    since: str
    name: str = ""
    names: Mapping[str, str] = {}
    part: Part = ""
    #: What it locks, where that is not simply the object that it is about; see `LocksOf`.
    locks: LocksOf | None = None
    preempts: bool = False
    done: str = ""
    resumable: bool = False
    revert: str = ""
    long: bool = False
    beside: frozenset[str] = frozenset()
    refuses: RefusalOf | None = None


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """One argument. `default` is meaningful only if it is not required."""

    name: str
    python_name: str
    type: Any
    required: bool
    default: Any = None
    doc: str = ""


class TaskRef(types.Record, frozen=True):
    """The reply of a task verb: the id under which its progress can be asked for."""

    task_id: types.UUID = msgspec.field(name="taskID")


class Verb(msgspec.Struct, frozen=True, kw_only=True):
    """One verb of the API, complete: everything a binding, the schema and the reference page need."""

    name: str
    namespace: type[Namespace]
    method: str
    declaration: Declaration
    summary: str
    description: str
    params: tuple[Param, ...]
    result: Any
    result_doc: str
    errors: tuple[type[VdsmError], ...]
    #: The arguments as one type; converting to it is the check at the door.
    arguments: type[msgspec.Struct]
    function: Callable[..., Any]
    #: Names, in Python, of the injected parameters.
    context_param: str = ""
    progress_param: str = ""
    plugin: str = ""

    @property
    def kind(self) -> Kind:
        """What calling it means."""
        return self.declaration.kind

    @property
    def access(self) -> Role:
        """The least role that may call it."""
        return self.declaration.access

    @property
    def on_object(self) -> bool:
        """Whether its first parameter is the id of one object of its namespace."""
        key = self.namespace.key
        return bool(key) and bool(self.params) and self.params[0].name == key

    def locks(self, values: Mapping[str, Any]) -> tuple[Lock, ...]:
        """Return what a call holds while it runs.

        :param values: its arguments, by their names in Python
        """
        if self.declaration.locks is not None:
            return tuple(self.declaration.locks(values))
        if self.kind is Kind.QUERY or not self.on_object:
            return ()
        return (Lock(self.namespace.reference(str(next(iter(values.values()))).lower())),)

    @property
    def reply(self) -> Any:
        """The type that a caller gets: the result, or for a task its reference."""
        return TaskRef if self.kind is Kind.TASK else self.result


class Namespace:
    """A noun of the API: verbs on one kind of object, or on the host itself.

    Class keywords: `name` (wire name, default the class name), `key` (wire name of the parameter that
    names one object; empty for a singleton), `plural` (name of the collection in paths, default lower-case
    name + "s"), `listed_by` (full name of the query that lists the objects of this kind), `reference` (the
    type of references to these objects, for locks; one of their own by default).
    """

    name: ClassVar[str] = ""
    key: ClassVar[str] = ""
    plural: ClassVar[str] = ""
    listed_by: ClassVar[str] = ""
    reference: ClassVar[type[Reference]] = Reference

    def __init_subclass__(
        cls,
        *,
        name: str = "",
        key: str = "",
        plural: str = "",
        listed_by: str = "",
        reference: type[Reference] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = name or cls.name or cls.__name__
        cls.key = key or cls.key
        cls.plural = plural or cls.plural or (cls.name.lower() + ("s" if cls.key else ""))
        cls.listed_by = listed_by or cls.listed_by
        if reference is not None:
            cls.reference = reference
        elif cls.reference is Reference:
            cls.reference = type(cls.name, (Reference,), {"kind": cls.name.lower()})


def query(
    *,
    access: Role = "monitor",
    since: str,
    name: str = "",
    names: Mapping[str, str] | None = None,
    part: Part = "",
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a verb that changes nothing. `names` maps Python parameter names to irregular wire names."""
    return _mark(
        Declaration(kind=Kind.QUERY, access=access, since=since, name=name, names=names or {}, part=part)
    )


def action(
    *,
    access: Role = "operator",
    since: str,
    name: str = "",
    names: Mapping[str, str] | None = None,
    part: Part = "",
    locks: LocksOf | None = None,
    preempts: bool = False,
    done: str = "",
    lane: bool | None = None,
    overtakes: bool | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a verb that changes something.

    :param locks: what a call locks; by default the object that its first parameter names, if it is the key of
        the namespace, so that calls on one object wait for each other. `no_locks` locks nothing
    :param preempts: goes ahead of waiting calls, asks long work on its objects to end, and does not wait for
        the call that runs
    :param done: the sentence that VDSM's envelope carries on success, if it is not the usual one
    :param lane: deprecated; `lane=False` is `locks=no_locks`
    :param overtakes: deprecated; it is `preempts`
    """
    if lane is not None:
        warn_of_argument("action", "lane")
        locks = locks if lane else no_locks
    if overtakes is not None:
        warn_of_argument("action", "overtakes")
        preempts = overtakes
    return _mark(
        Declaration(
            kind=Kind.ACTION,
            access=access,
            since=since,
            name=name,
            names=names or {},
            part=part,
            locks=locks,
            preempts=preempts,
            done=done,
        )
    )


def task(
    *,
    access: Role = "operator",
    since: str,
    name: str = "",
    names: Mapping[str, str] | None = None,
    part: Part = "",
    locks: LocksOf | None = None,
    resumable: bool = False,
    revert: str = "",
    long: bool = False,
    beside: Iterable[str] = (),
    refuses: RefusalOf | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a verb that starts long work; the function runs in the background.

    :param locks: as for `action`; they are held until the work is over
    :param resumable: after a crash it may simply be started again with the same arguments
    :param revert: name of the method that rolls back what a finished run did; it takes the same arguments
    :param long: it may take hours; it has threads apart from those for work of seconds
    :param beside: full names of verbs that do not wait for its locks, such as one that cancels it
    :param refuses: gives the error of verbs that are called meanwhile and are not `beside`; by default they
        wait
    """
    return _mark(
        Declaration(
            kind=Kind.TASK,
            access=access,
            since=since,
            name=name,
            names=names or {},
            part=part,
            locks=locks,
            resumable=resumable,
            revert=revert,
            long=long,
            beside=frozenset(beside),
            refuses=refuses,
        )
    )


def _mark(declaration: Declaration) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        setattr(function, _ATTRIBUTE, declaration)
        return function

    return decorate


def collect(namespace: Namespace, plugin: str = "") -> list[Verb]:
    """The verbs that a namespace object declares, in the order of their definition.

    :raises TypeError: a declaration cannot work (no type, no docstring, unknown error); names the method
    """
    cls = type(namespace)
    verbs = []
    for attribute in dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base)):
        declaration = getattr(getattr(cls, attribute), _ATTRIBUTE, None)
        if declaration is not None:
            try:
                verbs.append(_verb(namespace, attribute, declaration, plugin))
            except TypeError as error:
                raise TypeError(f"{cls.__module__}.{cls.__qualname__}.{attribute}: {error}") from None
    return verbs


def _verb(namespace: Namespace, attribute: str, declaration: Declaration, plugin: str) -> Verb:
    cls = type(namespace)
    function = getattr(namespace, attribute)
    hints = typing.get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    doc = parse_docstring(inspect.getdoc(function) or "")
    _check_declaration(namespace, declaration, signature, hints, doc)
    params = []
    injected = {Context: "", Progress: ""}
    for parameter in signature.parameters.values():
        if hints[parameter.name] in injected:
            injected[hints[parameter.name]] = parameter.name
        else:
            _describable(f"parameter '{parameter.name}'", hints[parameter.name])
            params.append(_param(parameter, hints[parameter.name], declaration, doc))
    _describable("the result", hints["return"])
    method = declaration.name or camel(attribute)
    return Verb(
        name=f"{cls.name}.{method}",
        namespace=cls,
        method=method,
        declaration=declaration,
        summary=doc.summary,
        description=described(doc.body, VERBS, f"{cls.name}.{method}"),
        params=tuple(params),
        result=hints["return"],
        result_doc=doc.returns,
        errors=tuple(_error(name, function) for name in doc.raises),
        arguments=_arguments_type(f"{cls.name}_{method}", params),
        function=function,
        context_param=injected[Context],
        progress_param=injected[Progress],
        plugin=plugin,
    )


def _check_declaration(
    namespace: Namespace,
    declaration: Declaration,
    signature: inspect.Signature,
    hints: dict[str, Any],
    doc: Docstring,
) -> None:
    if not doc.summary:
        raise TypeError("a verb needs a docstring")
    if "return" not in hints:
        raise TypeError("the result needs a type")
    for parameter in signature.parameters.values():
        if parameter.name not in hints:
            raise TypeError(f"parameter '{parameter.name}' needs a type")
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"parameter '{parameter.name}' must be one that can be given by name")
    for name in (*doc.params, *declaration.names):
        if name not in signature.parameters:
            raise TypeError(f"there is no parameter '{name}', but the declaration speaks of it")
    if declaration.access not in ROLES:
        raise TypeError(f"access '{declaration.access}' is none of {', '.join(ROLES)}")
    if declaration.revert and not callable(getattr(namespace, declaration.revert, None)):
        raise TypeError(f"there is no method '{declaration.revert}' to revert it")


def _describable(what: str, type_: Any) -> None:
    """See that a type has a schema: what cannot be described cannot be served, and would break the document.

    :raises TypeError: it has none
    """
    try:
        type_schema(type_)
    except TypeError as error:
        raise TypeError(f"the type of {what}, {type_}, has no JSON Schema: {error}") from None


def _param(parameter: inspect.Parameter, type_: Any, declaration: Declaration, doc: Docstring) -> Param:
    name = declaration.names.get(parameter.name) or camel(parameter.name)
    required = parameter.default is inspect.Parameter.empty
    return Param(
        name=name,
        python_name=parameter.name,
        type=type_,
        required=required,
        default=None if required else parameter.default,
        doc=doc.params.get(parameter.name, ""),
    )


def _arguments_type(name: str, params: list[Param]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for param in params:
        if param.required:
            fields.append((param.python_name, param.type))
        elif isinstance(param.default, (list, dict, set)):
            fresh = partial(copy.deepcopy, param.default)
            fields.append((param.python_name, param.type, msgspec.field(default_factory=fresh)))
        else:
            fields.append((param.python_name, param.type, param.default))
    rename = {param.python_name: param.name for param in params}
    try:
        struct = msgspec.defstruct(
            name, fields, kw_only=True, rename=rename, forbid_unknown_fields=True, gc=False
        )
        msgspec.json.Decoder(
            struct, dec_hook=lambda type_, _: type_
        )  # knows whether each type can be converted
    except ValueError as error:
        raise TypeError(str(error)) from None
    return struct


def camel(name: str) -> str:
    """The wire name of a Python name: `vm_id` -> `vmID`, `full_status` -> `fullStatus`."""
    first, *rest = name.split("_")
    return first + "".join(part.upper() if part in _ACRONYMS else part.capitalize() for part in rest)


_ACRONYMS: Final = frozenset({"id", "uuid", "cpu", "ip", "mac", "cd", "uri"})


def _error(name: str, function: Callable[..., Any]) -> type[VdsmError]:
    # What the verb's own module means by the name goes first: two plugins may use the same one.
    meant = inspect.unwrap(function).__globals__.get(name)
    if isinstance(meant, type) and issubclass(meant, VdsmError):
        return meant
    for error in tree():
        if error.__name__ == name:
            return error
    raise TypeError(f"the docstring raises '{name}', which is no VdsmError")


def access_level(role: Role) -> int:
    """A role as a number, to compare."""
    return ROLES.index(role)
