"""The arena's benchmark runs without a GPU and says what its numbers belong to."""

from __future__ import annotations

import json
from pathlib import Path

import arena
import pytest
from fake_virtual_memory import FakeVirtualMemory

from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import WanTrtError


def test_every_case_of_the_host_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arena, "PAGES", (1, 4))
    out = tmp_path / "arena.json"
    assert arena.main(["--turns", "50", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    cases = [(timing["what"], timing["pages"]) for timing in result["host"]]
    assert cases == [
        ("lease and return", 1),
        ("lease and return", 4),
        ("every page touched", 1),
        ("every page touched", 4),
        ("handed on, and back", 4),
    ]
    assert all(0 < timing["lease_us"] <= timing["lease_p99_us"] for timing in result["host"])
    assert result["machine"]["processor"]
    assert "| lease and return | 4 |" in capsys.readouterr().out


@pytest.fixture
def made_up_gpu(monkeypatch: pytest.MonkeyPatch) -> FakeVirtualMemory:
    cuda = FakeVirtualMemory()
    monkeypatch.setattr(arena, "PAGES", (1, 4))
    monkeypatch.setattr(arena, "load_bindings", lambda: cuda)
    monkeypatch.setattr(arena, "Device", lambda: Device(bindings=cuda))
    monkeypatch.setattr(arena, "driver_version", lambda: 13000)
    return cuda


def test_every_case_of_a_gpu_is_measured(made_up_gpu: FakeVirtualMemory, tmp_path: Path) -> None:
    out = tmp_path / "arena.json"
    assert arena.main(["--turns", "50", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [(timing["what"], timing["pages"]) for timing in result["device"]] == [
        ("pages kept", 1),
        ("pages kept", 4),
        ("pages made anew", 1),
        ("pages made anew", 4),
        ("handed on, and back", 4),
    ]
    assert result["gpu"]["driver"] == 13000
    assert made_up_gpu.handles == {}


def test_what_a_gpu_refuses_loses_nothing(made_up_gpu: FakeVirtualMemory, tmp_path: Path) -> None:
    made_up_gpu.fail_at["cuMemCreate"] = (3, "CUDA_ERROR_OUT_OF_MEMORY")
    out = tmp_path / "arena.json"
    with pytest.raises(WanTrtError):
        arena.main(["--turns", "50", "--out", str(out)])
    result = json.loads(out.read_text())
    assert [timing["pages"] for timing in result["device"]] == [1]
    assert len(result["host"]) == 5
