"""Settings of a command: one declaration, four places to give them, and one order among those."""

from __future__ import annotations

import argparse
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from wan_trt.cli.serve_options import server_options
from wan_trt.cli.serve_settings import ServeSettings
from wan_trt.cli.settings.declaration import build, setting, settings_of
from wan_trt.cli.settings.flags import add_settings, given_flags
from wan_trt.cli.settings.sources import Configuration, load
from wan_trt.engine.errors import InputError
from wan_trt.server.media_options import MediaOptions


@dataclass(frozen=True)
class Kitchen:
    """What is cooked."""

    dish: str = setting(..., "what to cook", "DISH", positional=True)
    minutes: int = setting(10, "how long", "N", at_least=1)
    salt_grams: float | None = setting(None, "how much (default: by taste)", "N", at_least=0)
    style: Literal["fried", "boiled"] = setting("fried", "how")


@dataclass(frozen=True)
class Table:
    """Where it is eaten."""

    outside: bool = setting(False, "in the garden")
    guests: tuple[str, ...] = setting((), "who comes", "NAME")
    recipe: Path | None = setting(None, "where it is written down", "FILE")
    password: str | None = setting(None, "of the door", "TEXT", secret=True)


@dataclass(frozen=True)
class Dinner:
    kitchen: Kitchen
    table: Table


def dinner(command: str = "", file: Path | None = None, **variables: str) -> Configuration[Dinner]:
    parser = argparse.ArgumentParser()
    add_settings(parser, Dinner)
    arguments = parser.parse_args(shlex.split(command))
    flags = given_flags(arguments, Dinner)
    return load(Dinner, flags, {"HOME": "/root", **variables}, "DINNER_", file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dinner.toml"
    path.write_text('dish = "soup"\nminutes = 30\nsalt_grams = 3\nstyle = "boiled"\n')
    return path


def test_flags_before_variables_before_the_file_before_defaults(file: Path) -> None:
    assert dinner("soup").settings.kitchen == Kitchen("soup", 10, None, "fried")
    assert dinner(file=file).settings.kitchen == Kitchen("soup", 30, 3.0, "boiled")
    variables = {"DINNER_MINUTES": "40", "DINNER_STYLE": "fried"}
    assert dinner(file=file, **variables).settings.kitchen == Kitchen("soup", 40, 3.0, "fried")
    all_of_them = dinner("stew --minutes 50", file, **variables)
    assert all_of_them.settings.kitchen == Kitchen("stew", 50, 3.0, "fried")
    assert all_of_them.origins == {
        "dish": "flag DISH",
        "minutes": "flag --minutes",
        "salt_grams": f"{file}:3",
        "style": "variable DINNER_STYLE",
    }


def test_every_type_from_every_place(tmp_path: Path) -> None:
    file = tmp_path / "dinner.toml"
    file.write_text('dish = "a"\noutside = true\nguests = ["x", "y"]\nrecipe = "r.txt"\n')
    found = dinner(file=file).settings.table
    assert found == Table(True, ("x", "y"), tmp_path / "r.txt")  # beside the file that names it
    found = dinner(
        "a", DINNER_OUTSIDE="true", DINNER_GUESTS="x,y", DINNER_RECIPE="r.txt"
    ).settings.table
    assert found == Table(True, ("x", "y"), Path("r.txt"))
    found = dinner("a --no-outside --guests z --guests w", file).settings.table
    assert found == Table(False, ("z", "w"), tmp_path / "r.txt")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\nminuts = 3", ":2: minuts is no setting; expected minutes, perhaps"),
        ("[kitchen]\nminutes = 3", ":1: kitchen is no setting; expected one that"),
        ('minutes = "3"', ":1: minutes: '3'; expected a whole number, 1 or more"),
        ("minutes = true", ":1: minutes: True; expected a whole number, 1 or more"),
        ("# minutes = 1\nminutes = 0", ":2: minutes: 0; expected a whole number, 1 or more"),
        ("salt_grams = nan", ":1: salt_grams: nan; expected a number, 0 or more"),
        ("style = 'raw'", ":1: style: 'raw'; expected one of fried, boiled"),
        ("outside = 1", ":1: outside: 1; expected true or false"),
        ("guests = 'x'", ":1: guests: 'x'; expected a list, each a text"),
        ("recipe = {}", ":1: recipe: a table; expected a text"),
        ("password = 4321", ":1: password: a secret of another form; expected a text"),
        ("minutes = x\n", "Invalid value (at line 1, column 11); expected TOML"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "dinner.toml"
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        dinner("soup", file)
    assert str(raised.value).removeprefix("config: ").startswith(str(file))
    assert told in str(raised.value)
    assert "4321" not in str(raised.value)


@pytest.mark.parametrize(
    ("command", "variables", "told"),
    [
        ("", {}, "dish: missing; expected what to cook"),
        ("a --minutes x", {}, "minutes: 'x'; expected a whole number, 1 or more"),
        ("a --style raw", {}, "style: 'raw'; expected one of fried, boiled"),
        ("a --salt-grams inf", {}, "salt_grams: inf; expected a number"),
        (
            "a",
            {"DINNER_OUTSIDE": "on"},
            "the variable DINNER_OUTSIDE: 'on'; expected true or false",
        ),
        ("a", {"DINNER_MINUTS": "3"}, "DINNER_MINUTS is no setting; expected DINNER_MINUTES"),
        ("a", {"DINNER_minutes": "3"}, "DINNER_minutes is no setting"),
    ],
)
def test_flags_and_variables_that_are_wrong(
    command: str, variables: dict[str, str], told: str
) -> None:
    with pytest.raises(InputError) as raised:
        dinner(command, None, **variables)
    assert told in str(raised.value)


def test_a_file_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        dinner("a", tmp_path / "none.toml")


def test_what_is_described_is_a_file_again_and_tells_no_secret(file: Path, tmp_path: Path) -> None:
    name = 'the "new"\ttable'
    first = dinner(f"--guests '{name}' --no-outside", file, DINNER_PASSWORD="sesame")
    text = first.describe()
    assert "sesame" not in text
    assert "# password is not shown  # variable DINNER_PASSWORD" in text
    assert f"minutes = 30  # {file}:2" in text
    assert "# recipe is not set" in text
    assert tomllib.loads(text)["guests"] == [name]
    again = tmp_path / "again.toml"
    again.write_text(text)
    assert dinner(file=again, DINNER_PASSWORD="sesame").settings == first.settings


def test_the_server_declares_each_setting_once_and_with_a_help() -> None:
    for name, each in settings_of(ServeSettings).items():
        assert name.isidentifier()
        assert name == name.lower()
        assert each.declared.help[0].islower() or each.declared.help.startswith("CPU")
        assert each.kind is bool or each.declared.metavar or each.choices, name


def test_the_server_reads_media_within_the_limits_that_its_settings_name() -> None:
    default = server_options(build(ServeSettings, {"bundle": Path("bundle")}))
    assert default.jobs.media == MediaOptions()
    strict = build(
        ServeSettings, {"bundle": Path("bundle"), "max_frames": 9, "reader_seconds": 2.0}
    )
    media = server_options(strict).jobs.media
    assert (media.limits.frames, media.process.wall_s) == (9, 2.0)


@dataclass(frozen=True)
class Twice:
    kitchen: Kitchen
    again: Kitchen


def test_two_settings_of_one_name_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="two settings are called dish"):
        settings_of(Twice)
