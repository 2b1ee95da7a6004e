"""Where settings come from, in one order: flags, then variables, then a file, then defaults."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from wan_trt.cli.settings.declaration import Setting, build, settings_of, titles_of
from wan_trt.engine.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Configuration(Generic[T]):
    """Settings, and where each of those that have not their default was given."""

    settings: T
    origins: Mapping[str, str]

    def describe(self) -> str:
        """All settings as a TOML file, with where they come from. Secrets are masked."""
        lines: list[str] = []
        settings = settings_of(type(self.settings))
        for group, title in titles_of(type(self.settings)).items():
            lines += ["", f"# {title.rstrip('.')}"]
            values = getattr(self.settings, group)
            for each in settings.values():
                if each.group == group:
                    lines.append(self._line(each, getattr(values, each.name)))
        return "\n".join(lines[1:]) + "\n"

    def _line(self, each: Setting, value: object) -> str:
        origin = self.origins.get(each.name, "default")
        if value is None:
            return f"# {each.name} is not set"
        if each.declared.secret:
            return f"# {each.name} is not shown  # {origin}"
        return f"{each.name} = {each.shown(value)}  # {origin}"


def load(
    root: type[T],
    flags: Mapping[str, object],
    variables: Mapping[str, str],
    prefix: str,
    file: Path | None,
) -> Configuration[T]:
    """The settings of `root`: `flags` are read already, of the `variables` those count whose names
    begin with `prefix`. Raises InputError for what nobody knows and what is of another type."""
    settings = settings_of(root)
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for found in (
        _of_file(settings, file) if file is not None else {},
        _of_variables(settings, variables, prefix),
        {name: (value, f"flag {_spelled(settings[name])}") for name, value in flags.items()},
    ):
        for name, (value, origin) in found.items():
            values[name], origins[name] = value, origin
    return Configuration(build(root, values), origins)


def _of_file(settings: Mapping[str, Setting], file: Path) -> dict[str, tuple[object, str]]:
    try:
        text = file.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise InputError(
            f"{file}: {error.strerror}", expected="a file that can be read", field="config"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {error}", expected="TOML", field="config") from None
    found = {}
    for name, value in table.items():
        place = f"{file}:{_line_of(name, text)}"
        if name not in settings:
            raise _unknown(f"{place}: {name}", name, settings)
        try:
            read = settings[name].of_value(value, file.absolute().parent)
        except InputError as error:
            raise _at(f"{place}: {name}", error) from None
        found[name] = read, place
    return found


def _of_variables(
    settings: Mapping[str, Setting], variables: Mapping[str, str], prefix: str
) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for variable in sorted(variables):
        name = variable.removeprefix(prefix).lower()
        if not variable.startswith(prefix) or variable == f"{prefix}CONFIG":
            continue
        if variable != prefix + name.upper() or name not in settings:
            names = [prefix + known.upper() for known in settings]
            raise _unknown(f"the variable {variable}", variable, names)
        each, text = settings[name], variables[variable]
        try:
            read: object = (
                tuple(each.of_text(item) for item in text.split(",") if item)
                if each.repeated
                else each.of_text(text)
            )
        except InputError as error:
            raise _at(f"the variable {variable}", error) from None
        found[name] = read, f"variable {variable}"
    return found


def _at(place: str, error: InputError) -> InputError:
    """The error of a value, told with its place instead of the flag that it was not."""
    return InputError(f"{place}: {error.given}", expected=error.expected, action=error.action)


def _unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    close = difflib.get_close_matches(name, list(known), n=1)
    return InputError(
        f"{what} is no setting",
        expected=f"{close[0]}, perhaps" if close else "one that `wan-trt serve --help` names",
        action="remove or correct it",
    )


def _line_of(name: str, text: str) -> int:
    """Where a top-level key or table stands in a TOML file, by its look."""
    key = rf"(?:{re.escape(name)}|\"{re.escape(name)}\"|'{re.escape(name)}')"
    found = re.search(rf"^[ \t]*(?:{key}[ \t]*[=.]|\[+[ \t]*{key}[ \t]*[.\]])", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _spelled(each: Setting) -> str:
    return each.declared.metavar if each.declared.positional else each.flag
