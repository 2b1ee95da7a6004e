"""`wan-trt doctor` on this machine and on real bundles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from changed_bundles import copy_bundle

from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle


def test_a_bundle_on_this_machine(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tiny_bundle.path), "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "Animate, fp32" in shown
    assert "every hash is right" in shown
    assert "ONNX Runtime on the CPU" in shown
    assert "problem " not in shown


def test_what_is_wrong_with_a_bundle(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copy_bundle(tiny_bundle, tmp_path / "copy")
    file = next(copy.weights_folder.iterdir())
    file.write_bytes(bytes(file.stat().st_size))
    assert main(["doctor", str(copy.path)]) == 0  # sizes alone
    assert main(["doctor", str(copy.path), "--verify"]) == 2
    assert f"{file} has sha256" in capsys.readouterr().out
    file.unlink()
    assert main(["doctor", str(copy.path)]) == 2
    shown = capsys.readouterr()
    assert f"bundle: {file} is missing" in shown.out
    assert "onnxruntime" in shown.out  # the machine is told of all the same
    assert "Traceback" not in shown.err


def test_json(tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tiny_bundle.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == 0
    assert "ONNX Runtime on the CPU" in document["backends"]
    bundle = document["facts"]["bundle"]
    assert bundle["nbytes"] == sum(f.nbytes for f in tiny_bundle.manifest.files.values())
    assert bundle["widened_nbytes"] == 0  # float32 is mapped
    small, large = bundle["footprints"]
    assert small["size"] == {"height": 480, "width": 832, "frames": 77}
    assert set(small["experts"]) == {"high", "low"}
    assert small["denoising"]["scratch"] < large["denoising"]["scratch"]
    assert main(["doctor", str(tmp_path / "none"), "--json"]) == 2
    assert "manifest.json" in json.loads(capsys.readouterr().out)["facts"]["bundle"]["problem"]


def test_sizes(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["doctor", str(tiny_bundle.path), "--json", "--size", "64x32"]
    assert main(command) == 0
    [footprint] = json.loads(capsys.readouterr().out)["facts"]["bundle"]["footprints"]
    assert footprint["size"]["width"] == 64
    for wrong in ("64x33", "64"):
        assert main([*command, "--size", wrong]) == 2
        assert capsys.readouterr().err.startswith("wan-trt: error: --size: ")


def test_verify_needs_a_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--verify"]) == 2
    assert capsys.readouterr().err.startswith("wan-trt: error: --verify: no bundle")
