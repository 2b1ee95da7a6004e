"""JSON into dataclasses, strictly: what is not understood is an error, never dropped."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from wan_trt.engine.errors import BundleError


def parse(kind: Any, data: Any, where: str) -> Any:
    """`data` of `json.loads` as an object of type `kind`; `where` names the place in messages.

    Takes dataclasses, tuples of any length, string-keyed mappings, optionals, StrEnums and plain
    types. Unknown or missing keys and wrong types are BundleErrors.
    """
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(data, dict):
            raise BundleError(f"{where} is {type(data).__name__}", expected="an object")
        hints = _hints(kind)
        if unknown := sorted(set(data) - set(hints)):
            raise BundleError(f"{where} has unknown keys {unknown}", action="update wan-trt")
        if missing := sorted(
            f.name
            for f in fields(kind)
            if f.name not in data and f.default is MISSING and f.default_factory is MISSING
        ):
            raise BundleError(f"{where} lacks {missing}", action="export the bundle again")
        return kind(**{k: parse(hints[k], v, f"{where}.{k}") for k, v in data.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        optional = types.NoneType in arguments and data is not None
        return parse(arguments[0], data, where) if optional else data
    if origin is not None and not isinstance(data, list if origin is tuple else dict):
        raise BundleError(
            f"{where} is {data!r}", expected="a list" if origin is tuple else "an object"
        )
    if origin is tuple:
        return tuple(parse(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(data))
    if origin is not None:  # Mapping[str, ..]
        return {k: parse(arguments[1], v, f"{where}.{k}") for k, v in data.items()}
    if kind is Any:
        return data
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if data not in list(kind):
            raise BundleError(
                f"{where} is {data!r}", expected=" or ".join(kind), action="update wan-trt"
            )
        return kind(data)
    if not isinstance(data, (int, float) if kind is float else kind):
        raise BundleError(f"{where} is {data!r}", expected=f"a {kind.__name__}")
    return data


@cache  # resolving annotations takes longer than parsing
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
