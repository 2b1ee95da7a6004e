"""What Dockerfile.trt promises, read off its text: no container engine is at hand to build it."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from wan_trt.cli.command_parser import make_parser

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = ("server", "cuda", "trt")
TORCHES = {"torch", "torchvision", "nvidia-modelopt", "onnxscript"}


@dataclass(frozen=True)
class Instruction:
    name: str
    words: str


def instructions() -> list[Instruction]:
    """The file's instructions, lines joined, comments and heredocs not understood."""
    lines = (ROOT / "Dockerfile.trt").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", text)
    parted = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [Instruction(name, words) for name, words in parted]


def stages() -> dict[str, list[Instruction]]:
    """Stage name -> its instructions, FROM first; "" has the arguments before the first."""
    found: dict[str, list[Instruction]] = {"": []}
    name = ""
    for instruction in instructions():
        if instruction.name == "FROM":
            name = instruction.words.split()[-1]
            found[name] = []
        found[name].append(instruction)
    return found


def words_of(stage: str, name: str) -> list[str]:
    return [instruction.words for instruction in stages()[stage] if instruction.name == name]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.trt.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def requirements() -> list[Requirement]:
    optional = PROJECT["project"]["optional-dependencies"]
    texts = [text for extra in EXTRAS for text in optional[extra]]
    return [Requirement(text) for text in (*PROJECT["project"]["dependencies"], *texts)]


def ignored(path: str) -> bool:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    return any(fnmatch(path, p) or fnmatch(path, p.removeprefix("**/")) for p in patterns)


def test_two_stages_stand_on_one_pinned_image() -> None:
    assert list(stages()) == ["", "build", "runtime"]
    [image] = [i.words.split("=", 1)[1] for i in stages()[""] if i.name == "ARG"]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", image)
    for stage in ("build", "runtime"):
        assert words_of(stage, "FROM") == [f"${{PYTHON_IMAGE}} AS {stage}"]


def test_the_runtime_stage_installs_nothing_and_is_not_root() -> None:
    for command in words_of("runtime", "RUN"):
        assert not re.search(r"\b(pip|apt|apt-get|curl|wget)\b", command)
    order = [instruction.name for instruction in stages()["runtime"]]
    [user] = words_of("runtime", "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert order.index("USER") < order.index("ENTRYPOINT")
    assert not {"RUN", "COPY", "ADD"} & set(order[order.index("USER") :])
    [copied] = words_of("runtime", "COPY")
    assert copied == "--from=build /opt/wan-trt /opt/wan-trt"
    assert not words_of("runtime", "ADD")


def test_its_commands_are_those_of_the_command_line() -> None:
    [entry, command] = [
        json.loads(words) for name in ("ENTRYPOINT", "CMD") for words in words_of("runtime", name)
    ]
    assert entry == ["wan-trt"]
    [health] = words_of("runtime", "HEALTHCHECK")
    _, _, checked = health.partition(" CMD ")
    assert checked.endswith("|| exit 1")  # the only other code that is defined
    for words in (command, shlex.split(checked.removesuffix("|| exit 1"))[1:]):
        make_parser(words).parse_args(words)


def test_the_run_lines_can_be_typed() -> None:
    text = (ROOT / "docs" / "gpu.md").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("docker run ")]
    assert len(lines) >= 6
    [default] = words_of("runtime", "CMD")
    for line in lines:
        options, command = re.split(r" wan-trt(?: |$)", line)
        words = shlex.split(command) or json.loads(default)
        make_parser(words).parse_args(words)
        assert "--gpus" in options
        assert ":/bundle" in options
        served = words[0] == "serve"
        assert served == (":/data" in options) == ("50051:50051" in options)


def test_what_is_copied_is_there_and_sent() -> None:
    sources = [w for words in words_of("build", "COPY") for w in words.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
    needed = set(PROJECT["tool"]["setuptools"]["package-dir"].values())
    needed |= {"pyproject.toml", "constraints.trt.txt", PROJECT["project"]["readme"], "LICENSE"}
    assert not [path for path in needed if ignored(path)]
    for left_out in (".git", ".venv", "tests", "engine/__pycache__", "benchmarks"):
        assert ignored(left_out)


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_pinned_as_the_project_wants_it(requirement: Requirement) -> None:
    assert requirement.specifier.contains(constraints()[requirement.name.lower()])


def test_the_build_stage_is_constrained_and_torch_is_nowhere() -> None:
    assert any("PIP_CONSTRAINT=/src/constraints.trt.txt" in env for env in words_of("build", "ENV"))
    [*_, install] = words_of("build", "RUN")
    assert f"'.[{','.join(EXTRAS)}]'" in install
    assert "find_spec('torch') is None" in install
    assert not TORCHES & set(constraints())
    assert not TORCHES & {requirement.name.lower() for requirement in requirements()}
    for command in words_of("build", "RUN"):
        for package in re.findall(r"pip install ((?:[\w.-]+ ?)+)", command):
            assert set(package.split()) <= set(constraints())
