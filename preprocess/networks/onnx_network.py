"""One ONNX file, checked against what is expected of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from wan_trt.engine.errors import ExecutionError, InputError
from wan_trt.engine.threads import available_threads

FIELD = "models"
_FATAL = 4
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class NetworkDevice(StrEnum):
    """Where networks run."""

    CPU = "cpu"
    CUDA = "cuda"


class OnnxNetwork:
    """A session with typed errors.

    `inputs` and `outputs` give the shape of each tensor by its name; None is a size that the file
    leaves open.
    """

    def __init__(
        self, path: Path, what: str, instead: str, device: NetworkDevice = NetworkDevice.CPU
    ) -> None:
        """Load the file at `path`, which holds `what`; `instead` says what to do without it.

        Raises InputError where there is no such file, it is no ONNX model, or ONNX Runtime cannot
        run on the device.
        """
        self.path = path
        self._what, self._instead = what, instead
        if not path.is_file():
            raise InputError(
                f"{path} is missing",
                expected=what,
                action=f"copy it there, or {instead}",
                field=FIELD,
            )
        provider = _PROVIDERS[device]
        if provider not in onnxruntime.get_available_providers():
            raise InputError(
                f"this ONNX Runtime has no {provider}",
                expected="a build for that device, e.g. onnxruntime-gpu",
                action="install it, or use the CPU",
                field="device",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = available_threads()
        options.log_severity_level = _FATAL  # errors arrive as exceptions
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.force_spinning_stop", "1")
        providers = list(dict.fromkeys([provider, _PROVIDERS["cpu"]]))
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's have no other common class
            raise self.unusable(_one_line(error)) from error
        self.inputs = {value.name: _shape(value.shape) for value in self._session.get_inputs()}
        self.outputs = {value.name: _shape(value.shape) for value in self._session.get_outputs()}
        self._types = {value.name: value.type for value in self._session.get_inputs()}

    def require(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Raises InputError unless the model has tensors of these names."""
        for kind, wanted, found in (
            ("inputs", inputs, self.inputs),
            ("outputs", outputs, self.outputs),
        ):
            if not set(wanted) <= set(found):
                raise self.unusable(f"its {kind} are {', '.join(found)}", ", ".join(wanted))

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """The outputs by name, as float32. Inputs are converted to the types they have.

        Raises ExecutionError where the model fails.
        """
        given = {
            name: np.ascontiguousarray(value, dtype=_TYPES.get(self._types[name], value.dtype))
            for name, value in feeds.items()
        }
        try:
            results = self._session.run(list(self.outputs), given)
        except Exception as error:  # ONNX Runtime's have no other common class
            raise ExecutionError(
                f"running {self.path}: {_one_line(error)}",
                expected=self._what,
                action=f"replace the file, or {self._instead}",
                field=FIELD,
            ) from error
        return {
            name: np.asarray(result, dtype=np.float32)
            for name, result in zip(self.outputs, results, strict=True)
        }

    def run_batch(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """The only output for the only input, [n, ..] -> [n, ..], in as many runs as the file's
        batch size needs."""
        (name, shape), output = next(iter(self.inputs.items())), next(iter(self.outputs))
        size = shape[0] or max(len(pictures), 1)
        parts = []
        for start in range(0, len(pictures), size):
            part = pictures[start : start + size]
            missing = size - len(part)
            if missing:  # the last of a fixed batch
                part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            parts.append(self.run({name: part})[output][: size - missing])
        return np.concatenate(parts)

    def picture_size(self, default: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the only picture input, [batch, 3, height, width].

        `default` where the file leaves them open. Raises InputError for other inputs.
        """
        shapes = list(self.inputs.values())
        if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (3, None):
            raise self.unusable(f"its inputs are {self.inputs}", "[batch, 3, height, width]")
        height, width = shapes[0][2:]
        return height or default[0], width or default[1]

    def unusable(self, given: str, expected: str = "") -> InputError:
        """An error about the file."""
        return InputError(
            f"{self.path}: {given}",
            expected=f"{self._what}{': ' if expected else ''}{expected}",
            action=f"replace it, or {self._instead}",
            field=FIELD,
        )


def _shape(shape: Sequence[int | str | None]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size > 0 else None for size in shape)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
