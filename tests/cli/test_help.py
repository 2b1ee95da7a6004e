"""The help of every command: complete, and its examples are what the command understands."""

from __future__ import annotations

import argparse
import shlex

import pytest

from wan_trt.cli.command_parser import COMMANDS, make_parser
from wan_trt.cli.main import main


def shown_help(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    return capsys.readouterr().out


def examples(text: str) -> list[str]:
    """The command lines under "examples:", one each, without their line breaks."""
    _, _, under = text.partition("\nexamples:\n")
    return [" ".join(part.replace("\\\n", " ").split("\n")) for part in under.split("\n\n") if part]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_can_be_typed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = examples(shown_help(command, capsys))
    assert 1 <= len(found) <= 2
    for example in found:
        program, *words = shlex.split(example)
        assert program == "wan-trt"
        assert words[0] == command
        assert make_parser(words).parse_args(words).command == command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_takes_and_what_it_is_for(command: str) -> None:
    parser = make_parser([command])
    [commands] = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in commands.choices[command]._actions:
        assert action.help, action.dest
        takes_a_value = action.nargs != 0
        assert not takes_a_value or action.metavar or action.choices, action.dest


def test_lines_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        for line in shown_help(command, capsys).splitlines():
            assert len(line) <= 100, line
