"""What was done with every key of an adapter file: as JSON for the record, as text for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wan_trt.export.lora.fold import Norms
from wan_trt.export.lora.match import LoraFile

# A change this large in proportion to the weight is no fine-tuning any more.
_STRONG = 0.5


def report(file: LoraFile, norms: Norms) -> dict[str, Any]:
    """JSON-ready; `norms` are those of this file in the fold that was written."""
    blocks: dict[str, list[str]] = {}
    modules: dict[str, Any] = {}
    for delta in file.deltas:
        blocks.setdefault(_block(delta.target), []).append(delta.target)
        name = delta.target if delta.half is None else f"{delta.target}[half {delta.half}]"
        # A pair and a full change of one weight: what is said of the pair says more.
        if name not in modules or delta.change_of.rank is not None:
            modules[name] = {**delta.describe(), "norm_ratio": norms.ratio([delta.target])}
    ratios = {name: norms.ratio(dict.fromkeys(targets)) for name, targets in blocks.items()}
    return {
        "file": file.path,
        "sha256": file.sha256,
        "family": file.family,
        "algorithms": list(file.algorithms),
        "trained_for": file.trained_for.name or None,
        "strength": file.strength,
        "config": file.config or None,
        "matched_keys": list(file.matched_keys),
        "unmatched_keys": list(file.unmatched_keys),
        "other_expert_keys": list(file.other_expert_keys),
        "unmatched_reasons": {
            key: f"{problem.kind}: {problem.text}" for key, problem in file.problems.items()
        },
        "modules_matched": file.matched_modules,
        "modules_expected": file.modules,
        "modules": modules,
        "block_norm_ratios": ratios,
        "warnings": [*file.warnings, *_strong(ratios)],
    }


def text(entry: Mapping[str, Any]) -> str:
    """A few lines about one file, from its report."""
    modules = list(entry["modules"].values())
    lines = [
        f"{entry['file']}: {entry['family']} ({', '.join(entry['algorithms']) or 'nothing'}), "
        f"strength {entry['strength']:g}, "
        f"{entry['modules_matched']} of {entry['modules_expected']} modules, "
        f"{len(entry['matched_keys'])} keys matched, {len(entry['unmatched_keys'])} not",
    ]
    if entry["trained_for"]:
        lines.append(f"  trained for  {entry['trained_for']}")
    for name in ("rank", "alpha", "scale"):
        found = sorted({module[name] for module in modules if module[name] is not None})
        if found:
            lines.append(f"  {name:<11}  {_range(found)}")
    if entry["other_expert_keys"]:
        lines.append(f"  other expert {len(entry['other_expert_keys'])} keys")
    ratios = {name: value for name, value in entry["block_norm_ratios"].items() if value}
    if ratios:
        lines.append("  |change| / |weight|")
        lines += [f"    {name:<16} {value:.4g}" for name, value in ratios.items()]
    for key, reason in entry["unmatched_reasons"].items():
        lines.append(f"  not applied  {key}: {reason}")
    lines += [f"  warning      {warning}" for warning in entry["warnings"]]
    return "\n".join(lines)


def _block(target: str) -> str:
    """blocks.3.ffn.0.weight -> blocks.3; what lies outside the blocks by its first name."""
    found = re.match(r"(?:face_adapter\.fuser_)?blocks\.\d+", target)
    return found[0] if found else target.partition(".")[0]


def _strong(ratios: Mapping[str, float | None]) -> list[str]:
    strong = [name for name, ratio in ratios.items() if ratio is not None and ratio > _STRONG]
    if not strong:
        return []
    shown = ", ".join(strong[:3]) + (", ..." if len(strong) > 3 else "")
    return [f"changes {shown} by more than {_STRONG:.0%}: is alpha or strength right?"]


def _range(values: Sequence[float]) -> str:
    if len(values) <= 4:
        return ", ".join(f"{value:g}" for value in values)
    return f"{values[0]:g} .. {values[-1]:g}"
