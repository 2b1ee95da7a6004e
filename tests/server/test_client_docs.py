"""The examples of docs/client.md and of the client's docstring, run as they stand."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from textwrap import dedent

import pytest
from durable import write_media
from toy_bundle import write_toy_bundle
from toy_server import toy_server

import wan_trt.server.client
from wan_trt.media import open_frames

ROOT = Path(__file__).resolve().parents[2]


def examples() -> list[str]:
    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(found) == 2
    shown = wan_trt.server.client.__doc__ or ""
    code = dedent(re.findall(r"\n\n(    with .*?)\n\n", shown, re.DOTALL)[0])
    return [*found, f"from wan_trt.server.client import *\n{code}"]


@pytest.mark.parametrize("code", examples())
def test_an_example(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    media = write_media(tmp_path, frames=9)
    for name, stands_for in (("reference", "hero.png"), ("pose", "pose.mp4"), ("face", "face.mp4")):
        code = code.replace(stands_for, media[name].name)
    with toy_server(write_toy_bundle(tmp_path / "toy"), tmp_path / "data") as server:
        file = tmp_path / "example.py"
        file.write_text(code.replace("127.0.0.1:50051", str(server.address)))
        runpy.run_path(str(file), run_name="__main__")
    assert "done" in capsys.readouterr().out.lower()
    video = open_frames(tmp_path / "hero.mp4")
    assert video.count == 9
    video.close()
