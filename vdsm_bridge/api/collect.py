"""Collecting verbs: from the decorated methods of a namespace to complete, checked verbs."""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from vdsm_bridge.api import legacy
from vdsm_bridge.api.declare import declaration_of
from vdsm_bridge.api.docstrings import Docstring, parse_docstring
from vdsm_bridge.api.namespace import Namespace
from vdsm_bridge.api.schema import type_schema
from vdsm_bridge.api.secrets import holds_secret, secret_paths
from vdsm_bridge.api.verb import Declaration, Kind, Param, Verb, placed
from vdsm_bridge.call.context import ROLES, Context
from vdsm_core.deprecated import VERBS, described
from vdsm_core.errors import VdsmError, tree
from vdsm_core.types import Open
from vdsm_core.work.steps import Progress


def collect(namespace: Namespace, plugin: str = "") -> list[Verb]:
    """Return the verbs that a namespace object declares, in the order of their definition.

    :raises TypeError: a declaration cannot work (no type, no docstring, unknown error); names the method
    """
    cls = type(namespace)
    verbs = []
    for attribute in dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base)):
        declaration = declaration_of(getattr(cls, attribute))
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
    _check_secrets(declaration, params, hints["return"])
    method = declaration.name or camel(attribute)
    methods, form = legacy.complete(
        declaration.legacy, [param.name for param in params], _members(hints["return"])
    )
    verb = Verb(
        name=f"{cls.name}.{method}",
        namespace=cls.whole,
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
        legacy_methods=methods,
        legacy_form=form,
        context_param=injected[Context],
        progress_param=injected[Progress],
        group=cls,
        plugin=plugin,
    )
    return placed(verb, cls.levels)


def _members(type_: Any) -> list[str]:
    struct = type_.inner if isinstance(type_, type) and issubclass(type_, Open) else type_
    if not (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
        return []
    return [field.encode_name for field in msgspec.structs.fields(struct)]


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
            raise TypeError(f"there is no parameter '{name}', but the declaration names it")
    if declaration.access not in ROLES:
        raise TypeError(f"access '{declaration.access}' is none of {', '.join(ROLES)}")
    if declaration.revert and not callable(getattr(namespace, declaration.revert, None)):
        raise TypeError(f"there is no method '{declaration.revert}' to revert it")


def _check_secrets(declaration: Declaration, params: list[Param], result: Any) -> None:
    """Check that secrets are sent in bodies of requests only, and never in replies.

    :raises TypeError: a result holds one, or a verb has one that REST sends in a URL, which proxies log
    """
    if holds_secret(result):
        raise TypeError("the result holds a secret, which no reply may show")
    for param in params:
        in_url = declaration.kind is Kind.QUERY or declaration.part == "delete"
        # Beside the structure that is the body of a creation, arguments are in the query string.
        beside = declaration.part == "create" and () in secret_paths(param.type)
        if (in_url and holds_secret(param.type)) or beside:
            raise TypeError(
                f"parameter '{param.name}' is a secret, which needs an action or a task with it in its body"
            )


def _describable(what: str, type_: Any) -> None:
    """Check that a type has a schema: what cannot be described cannot be served.

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
        # Raises if a value of some type could not be converted.
        msgspec.json.Decoder(struct, dec_hook=lambda type_, _: type_)
    except ValueError as error:
        raise TypeError(str(error)) from None
    return struct


def camel(name: str) -> str:
    """Return the wire name of a Python name: `vm_id` -> `vmID`, `full_status` -> `fullStatus`."""
    first, *rest = name.split("_")
    return first + "".join(part.upper() if part in _ACRONYMS else part.capitalize() for part in rest)


_ACRONYMS: Final = frozenset({"id", "uuid", "cpu", "ip", "mac", "cd", "uri"})


def _error(name: str, function: Callable[..., Any]) -> type[VdsmError]:
    # The name as the verb's own module defines it goes first: two plugins may use the same one.
    meant = inspect.unwrap(function).__globals__.get(name)
    if isinstance(meant, type) and issubclass(meant, VdsmError):
        return meant
    for error in tree():
        if error.__name__ == name:
            return error
    raise TypeError(f"the docstring raises '{name}', which is no VdsmError")
