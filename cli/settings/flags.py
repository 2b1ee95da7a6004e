"""Settings as arguments of a command."""

from __future__ import annotations

import argparse

from wan_trt.cli.settings.declaration import Setting, settings_of, titles_of


def add_settings(parser: argparse.ArgumentParser, root: type) -> None:
    """A flag for each setting, in one part of the help for each group. What is not given is None:
    a flag has the last word, so it must be known whether it was there."""
    settings = settings_of(root)
    for group, title in titles_of(root).items():
        part = parser.add_argument_group(title.rstrip("."))
        for each in settings.values():
            if each.group == group:
                _add(part, each)


def given_flags(arguments: argparse.Namespace, root: type) -> dict[str, object]:
    """The settings among the arguments. Raises InputError for what they do not take."""
    values: dict[str, object] = {}
    for name, each in settings_of(root).items():
        match getattr(arguments, name):
            case None:
                pass
            case bool() as value:
                values[name] = value
            case list() as texts:
                values[name] = tuple(each.of_text(text) for text in texts)
            case str() as text:
                values[name] = each.of_text(text)
    return values


def _add(part: argparse._ArgumentGroup, each: Setting) -> None:
    text = _help(each).replace("%", "%%")
    metavar = each.declared.metavar or ("{" + ",".join(each.choices) + "}")
    if each.declared.positional:
        part.add_argument(each.name, nargs="?", metavar=metavar, help=text)
    elif each.kind is bool:
        part.add_argument(
            each.flag, dest=each.name, action=argparse.BooleanOptionalAction, help=text
        )
    else:
        action = "append" if each.repeated else "store"
        part.add_argument(each.flag, dest=each.name, metavar=metavar, action=action, help=text)


def _help(each: Setting) -> str:
    """With the default, where there is one to tell and the help does not."""
    if each.required or each.default in (None, ()) or "(default" in each.declared.help:
        return each.declared.help
    default = each.default
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    if isinstance(default, bool):
        shown = "yes" if default else "no"
    return f"{each.declared.help} (default: {shown})"
