"""One declaration a setting. Its flag, its variable, its key in a file and its help follow from it.

    @dataclass(frozen=True)
    class StorageSettings:
        "What is kept, and where."

        checkpoint_steps: int = setting(4, "keep the state each N steps", "N", at_least=0)

Groups of settings are the fields of one more dataclass. A name is unique in all of its groups.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from wan_trt.engine.errors import InputError

T = TypeVar("T")
Read = Callable[[str, str], Any]
"""Makes a value of a text and the name of its setting. Raises InputError for another."""

_BOOLEANS = {"true": True, "false": False}
_KEY = "wan_trt.setting"


@dataclass(frozen=True)
class _Declared:
    help: str
    metavar: str
    at_least: float | None
    secret: bool
    positional: bool
    read: Read | None


def setting(
    default: Any,
    help: str,  # noqa: A002
    metavar: str = "",
    *,
    at_least: float | None = None,
    secret: bool = False,
    positional: bool = False,
    read: Read | None = None,
) -> Any:
    """A field of a group. Its type says what it takes: int, float, bool, str, Path, a Literal of
    strings, a tuple of one of these (a flag that may be repeated), or any type that `read` makes;
    `| None` where it may be left out. `...` as default: it must be given.

    `help` begins in lower case and does not tell the default. `secret`: never shown. A
    `positional` one is an argument instead of a flag on the command line."""
    declared = _Declared(help, metavar, at_least, secret, positional, read)
    return field(default=MISSING if default is ... else default, metadata={_KEY: declared})


@dataclass(frozen=True)
class Setting:
    """A setting of `group`, the field of the root that it is in; `kind` is its type less None."""

    name: str
    group: str
    kind: Any
    default: Any
    declared: _Declared

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def repeated(self) -> bool:
        return get_origin(self.kind) is tuple

    @cached_property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def expected(self) -> str:
        """What it takes, in words."""
        item = get_args(self.kind)[0] if self.repeated else self.kind
        at_least = self.declared.at_least
        words = {int: "a whole number", float: "a number", bool: "true or false"}.get(
            item, "a text"
        )
        if self.choices:
            words = f"one of {', '.join(self.choices)}"
        if at_least is not None:
            words += f", {at_least:g} or more"
        return f"a list, each {words}" if self.repeated else words

    def of_text(self, text: str) -> Any:
        """The value that a flag or a variable stands for; for a repeated one, one item of it.
        Raises InputError."""
        item = get_args(self.kind)[0] if self.repeated else self.kind
        if self.declared.read is not None:
            return self.declared.read(text, self.name)
        try:
            if item is bool:
                return _BOOLEANS[text.lower()]
            if item in (int, float):
                return self._checked(item(text))
        except (ValueError, KeyError):
            raise self._wrong(text) from None
        return self._checked(Path(text) if item is Path else text)

    def of_value(self, value: object, folder: Path) -> Any:
        """The same of a value in a TOML file that lies in `folder`, where its paths begin."""
        item = get_args(self.kind)[0] if self.repeated else self.kind
        if self.repeated:
            if not isinstance(value, list):
                raise self._wrong(value)
            single = dataclasses.replace(self, kind=item)
            return tuple(single.of_value(each, folder) for each in value)
        if item in (bool, int, float):
            fits = (int, float) if item is float else (item,)
            if type(value) not in fits:
                raise self._wrong(value)
            return self._checked(item(value))
        if not isinstance(value, str):
            raise self._wrong(value)
        read = self.of_text(value)
        return folder / read if item is Path else read

    def shown(self, value: object) -> str:
        """A value as a TOML file has it; None and what is secret are no TOML."""
        match value:
            case None:
                return "(none)"
            case bool():
                return str(value).lower()
            case int() | float():
                return f"{value:g}" if isinstance(value, float) else str(value)
            case tuple():
                return f"[{', '.join(self.shown(each) for each in value)}]"
            case _:
                text = str(value).replace("\\", "\\\\").replace('"', '\\"')
                return (
                    '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text) + '"'
                )

    def _checked(self, value: Any) -> Any:
        at_least = self.declared.at_least
        if self.choices and value not in self.choices:
            raise self._wrong(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._wrong(value)
        if at_least is not None and value < at_least:
            raise self._wrong(value)
        return value

    def _wrong(self, value: object) -> InputError:
        shown = "a table" if isinstance(value, dict) else repr(value)[:100]
        return InputError(
            "a secret of another form" if self.declared.secret else shown,
            expected=self.expected,
            field=self.name,
        )


def settings_of(root: type) -> dict[str, Setting]:
    """All settings of the groups of `root`, by name, in their order."""
    found: dict[str, Setting] = {}
    for group, kind in get_type_hints(root).items():
        hints = get_type_hints(kind)
        for each in dataclasses.fields(kind):
            assert each.name not in found, f"two settings are called {each.name}"
            found[each.name] = Setting(
                each.name, group, _less_none(hints[each.name]), each.default, each.metadata[_KEY]
            )
    return found


def titles_of(root: type) -> dict[str, str]:
    """What the groups of `root` are about: their docstrings."""
    return {name: (kind.__doc__ or "").strip() for name, kind in get_type_hints(root).items()}


def build(root: type[T], values: Mapping[str, object]) -> T:
    """A `root` of the values by name; what is not there has its default. Raises InputError where
    it has none."""
    settings = settings_of(root)
    for name, each in settings.items():
        if each.required and name not in values:
            raise InputError("missing", expected=each.declared.help, action="give it", field=name)
    groups = {}
    for group, kind in get_type_hints(root).items():
        own = {n: values[n] for n, each in settings.items() if each.group == group and n in values}
        groups[group] = kind(**own)
    return root(**groups)


def _less_none(kind: Any) -> Any:
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    [rest] = [each for each in get_args(kind) if each is not type(None)]
    return rest
