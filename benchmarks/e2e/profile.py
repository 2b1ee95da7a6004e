"""Where the bundle's time goes: ONNX Runtime's own profile of every graph, summed by operator."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime

_KERNEL = "_kernel_time"


@contextmanager
def profiled_session(folder: Path | None, graph: str) -> Iterator[None]:
    """A session made in here writes its profile as `folder`/`graph`_*.json when it is dropped."""
    if folder is None:
        yield
        return
    plain: Callable[[], Any] = onnxruntime.SessionOptions

    def options() -> Any:
        profiling = plain()
        profiling.enable_profiling = True
        profiling.profile_file_prefix = str(folder / graph)
        return profiling

    onnxruntime.SessionOptions = options
    try:
        yield
    finally:
        onnxruntime.SessionOptions = plain


def read_profiles(folder: Path) -> dict[str, Counter[str]]:
    """{graph: {operator: seconds}} over all runs of all sessions in `folder`."""
    seconds: dict[str, Counter[str]] = {}
    for file in sorted(folder.glob("*.json")):
        graph = _graph_name(file.stem)
        counts = seconds.setdefault(graph, Counter())
        for event in json.loads(file.read_text()):
            if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
                counts[event["args"]["op_name"]] += event["dur"] / 1e6
    return seconds


def profile_table(seconds: dict[str, Counter[str]], rows: int = 6) -> str:
    """Markdown: a line for each graph, its most expensive operators first."""
    lines = ["| graph | seconds | operators |", "|---|---|---|"]
    for graph, counts in sorted(seconds.items(), key=lambda item: -item[1].total()):
        total = counts.total()
        shares = ", ".join(
            f"{operator} {100 * value / total:.0f} %"
            for operator, value in counts.most_common(rows)
        )
        lines.append(f"| `{graph}` | {total:.2f} | {shares} |")
    return "\n".join(lines)


def _graph_name(stem: str) -> str:
    """ONNX Runtime appends a date, a time and sometimes a number to the prefix."""
    return "_".join(part for part in stem.split("_") if not any(map(str.isdigit, part)))
