"""The table of errors, in both directions."""

from __future__ import annotations

import inspect

import grpc
import pytest

from wan_trt.engine import errors
from wan_trt.engine.errors import ExecutionError, InputError, MediaError, WanTrtError
from wan_trt.server import errors as server_errors
from wan_trt.server.status import CODES, code_of, error_from_wire, error_to_wire


def all_kinds() -> list[type[WanTrtError]]:
    classes = {
        kind
        for module in (errors, server_errors)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, WanTrtError) and kind is not WanTrtError
    }
    return sorted(classes, key=str)


def test_every_class_of_the_tree_has_a_code() -> None:
    assert set(CODES) == set(all_kinds())


@pytest.mark.parametrize("kind", all_kinds())
def test_an_error_crosses_the_wire_whole(kind: type[WanTrtError]) -> None:
    error = kind("given é", expected="expected", action="action", field="pose")
    again = error_from_wire(error_to_wire(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.field, again.exit_code) == ("pose", kind.exit_code)


def test_a_class_of_a_later_version_keeps_its_exit_code() -> None:
    class ColourError(MediaError):
        pass

    message = error_to_wire(ColourError("green"))
    assert message.kind == "MediaError"
    message.kind = "ColourError"
    assert type(error_from_wire(message)) is InputError
    assert code_of(ColourError("green")) is grpc.StatusCode.INVALID_ARGUMENT


def test_a_bug_is_an_execution_error() -> None:
    error = error_from_wire(error_to_wire(ZeroDivisionError("division by zero")))
    assert isinstance(error, ExecutionError)
    assert error.exit_code == 1
    assert "ZeroDivisionError" in str(error)


def test_a_file_name_that_is_no_text_can_be_told() -> None:
    assert "\\udcff" in error_to_wire(MediaError("bad\udcff.png")).given
