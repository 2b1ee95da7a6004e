"""--label KEY=VALUE, of `submit` and `list`."""

from __future__ import annotations

import argparse

from wan_trt.engine.errors import InputError


def add_label_argument(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, text: str
) -> None:
    parser.add_argument(
        "--label", dest="labels", metavar="KEY=VALUE", action="append", default=[], help=text
    )


def labels_from(arguments: argparse.Namespace) -> dict[str, str]:
    """Raises InputError for what is no label, and for a key with two values."""
    labels: dict[str, str] = {}
    for text in arguments.labels:
        key, equals, value = text.partition("=")
        if not key or not equals or labels.get(key, value) != value:
            raise InputError(
                repr(text),
                expected="KEY=VALUE, each key once",
                action="write it as in --label show=dune",
                field="labels",
            )
        labels[key] = value
    return labels
