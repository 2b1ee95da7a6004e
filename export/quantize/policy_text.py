"""A policy as the TOML that `Policy.parse` reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from wan_trt.export.quantize.evidence import Evidence
from wan_trt.export.quantize.policy import Policy

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def policy_text(policy: Policy) -> str:
    """The same tables in the same order, with the evidence behind them."""
    lines: list[str] = []
    if policy.evidence:
        lines += _summary(policy.evidence, {m for rule in policy.linear for m in rule.modules})
    for kind, rules in (("linear", policy.linear), ("attention", policy.attention)):
        for rule in rules:
            lines += [f"[[{kind}]]", *_lines(asdict(rule)), ""]
    if policy.evidence:
        evidence = asdict(policy.evidence)
        linears = evidence.pop("linears")
        lines += ["[evidence]", *_lines(evidence), ""]
        lines += ["[evidence.linears]", *_lines(linears), ""]
    return "\n".join(lines)


def _summary(evidence: Evidence, chosen: set[str]) -> Iterator[str]:
    total = sum(linear.nbytes for linear in evidence.linears.values())
    part = sum(linear.nbytes for name, linear in evidence.linears.items() if name in chosen)
    yield f"# Found by `wan-trt calibrate --search --budget {evidence.budget:g}`:"
    yield f"# {len(chosen)} of {len(evidence.linears)} linears, {part} of {total} weight bytes."
    for trial in evidence.trials:
        if trial.count == len(chosen):
            yield f"# Relative squared error of the velocity, worse expert: {trial.error:.4g}."
    yield ""


def _lines(table: Mapping[str, Any]) -> Iterator[str]:
    """A line for each key; a list of names is one name a line."""
    for key, value in table.items():
        if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
            yield f"{_key(key)} = ["
            yield from (f"    {_value(item)}," for item in value)
            yield "]"
        elif value is not None:
            yield f"{_key(key)} = {_value(value)}"


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    """On one line. TOML has no null: such keys are left out."""
    if isinstance(value, Mapping):
        pairs = (f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # A file's name may hold what is no text, and TOML takes no character that JSON would not.
        text = value.encode("utf-8", "backslashreplace").decode()
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
