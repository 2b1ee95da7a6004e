"""Which linears and self attentions are FP8: a TOML file of patterns, later tables win (pure).

    [[linear]]
    modules = ["blocks.*.ffn.*"]    # shell patterns over names such as blocks.0.ffn.2
    blocks = "3:-3"                 # optional: only in these blocks, as a Python slice
    precision = "fp8"               # or "high"

    [[attention]]                   # optional: Q, K, V and softmax of self attention together
    blocks = "4:36"
    precision = "fp8"

    [evidence]                      # optional: what a search measured, see evidence.py

Norms, modulation, the patch, time, text, image and pose embeddings, the motion and face encoders,
the head and the VAE are no candidates: they are high precision whatever a policy says.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from wan_trt.engine.errors import BundleError, InputError
from wan_trt.engine.models import DENOISER
from wan_trt.export.modeling.module import ExportModule, Linear
from wan_trt.export.quantize.evidence import Evidence
from wan_trt.export.quantize.rounding import Rounding

_PRESETS = Path(__file__).parent / "presets"
_CANDIDATE = re.compile(
    r"blocks\.\d+\.(self_attn\.[qkvo]|cross_attn\.([qkvo]|[kv]_img)|ffn\.[02])"
    r"|face_adapter\.fuser_blocks\.\d+\.(linear1_[qkv]|linear2)"
)
_BLOCK = re.compile(r"blocks\.(\d+)\.")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?")
_PRECISIONS = ("fp8", "high")
_FIELD = "policy"


def candidates(graphs: Mapping[str, ExportModule]) -> dict[str, tuple[str, ...]]:
    """The linears that may be quantised, by graph; graphs without any are left out. No two graphs
    have a linear of the same name."""
    linears = {
        graph: tuple(
            name
            for name, child in module.named_modules()
            if isinstance(child, Linear) and _CANDIDATE.fullmatch(name)
        )
        for graph, module in graphs.items()
    }
    return {graph: names for graph, names in linears.items() if names}


@dataclass(frozen=True)
class LinearRule:
    """A [[linear]] table."""

    modules: tuple[str, ...]
    precision: str
    blocks: str = ":"


@dataclass(frozen=True)
class AttentionRule:
    """An [[attention]] table."""

    blocks: str
    precision: str


@dataclass(frozen=True)
class Quantised:
    """What a policy makes of one model: names of FP8 linears by graph, for graphs that have any;
    numbers of blocks whose self attention is FP8."""

    linears: Mapping[str, frozenset[str]]
    attention: frozenset[int]

    @property
    def rounded(self) -> dict[str, Rounding]:
        """By graph, for graphs of which something is FP8."""
        graphs = dict(self.linears)
        if self.attention:
            graphs.setdefault(DENOISER, frozenset())
        return {
            graph: Rounding.of_graph(graph, linears, self.attention)
            for graph, linears in graphs.items()
        }


@dataclass(frozen=True)
class Policy:
    """The tables of a policy file, in its order. `name` is the preset's or the file's; `evidence`
    says why it is so and decides nothing."""

    name: str
    linear: tuple[LinearRule, ...]
    attention: tuple[AttentionRule, ...] = ()
    evidence: Evidence | None = None

    @staticmethod
    def read(name: str | Path) -> Policy:
        """A preset by its name, or a file. Raises InputError naming unknown keys and values."""
        preset = _PRESETS / f"{name}.toml"
        path = preset if str(name) in presets() else Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"the policy {name} cannot be read ({error})",
                expected=f"a TOML file, or one of {', '.join(presets())}",
                action="check the path",
                field=_FIELD,
            ) from None
        return Policy.parse(text, path.stem if path == preset else str(path))

    @staticmethod
    def parse(text: str, name: str) -> Policy:
        """See `read`."""
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise _error(name, f"is no TOML ({error})", "a policy as docs/fp8.md has it") from None
        evidence = _evidence(name, data.pop("evidence", None))
        if unknown := sorted(set(data) - {"linear", "attention"}):
            raise _error(name, f"has unknown tables {unknown}", "[[linear]] and [[attention]]")
        linear = tuple(
            LinearRule(_patterns(name, table), _precision(name, table), _slice(name, table))
            for table in _tables(name, data, "linear", {"modules", "precision", "blocks"})
        )
        attention = tuple(
            AttentionRule(_slice(name, table), _precision(name, table))
            for table in _tables(name, data, "attention", {"blocks", "precision"})
        )
        return Policy(name, linear, attention, evidence)

    @property
    def digest(self) -> str:
        """sha256 of the rules: two files that say the same are the same policy."""
        data = {
            "linear": [asdict(rule) for rule in self.linear],
            "attention": [asdict(rule) for rule in self.attention],
        }
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

    def apply(self, modules: Mapping[str, Sequence[str]], layers: int) -> Quantised:
        """What is FP8 of graphs with these `candidates` and `layers` blocks. Raises InputError for
        a pattern that matches nothing in any graph, and where nothing is quantised in the end."""
        everything = flat(modules)
        chosen: dict[str, str] = {}
        for rule in self.linear:
            for pattern in rule.modules:
                found = [name for name in everything if fnmatchcase(name, pattern)]
                if not found:
                    raise _error(
                        self.name,
                        f"has a pattern {pattern!r} that matches no linear of this model",
                        "patterns over linears of blocks.* and face_adapter.*; all else is high "
                        "precision always",
                    )
                inside = [name for name in found if _inside(name, rule.blocks, layers)]
                chosen |= dict.fromkeys(inside, rule.precision)
        blocks: dict[int, str] = {}
        for attention in self.attention:
            inside_blocks = range(layers)[_python_slice(attention.blocks)]
            blocks |= dict.fromkeys(inside_blocks, attention.precision)
        linears = {
            graph: frozenset(name for name in own if chosen.get(name) == "fp8")
            for graph, own in modules.items()
        }
        found_fp8 = Quantised(
            {graph: own for graph, own in linears.items() if own},
            frozenset(block for block, precision in blocks.items() if precision == "fp8"),
        )
        if not found_fp8.linears and not found_fp8.attention:
            raise _error(self.name, "quantises nothing of this model", "an FP8 linear or attention")
        return found_fp8


def flat(linears: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The linears of all graphs as one."""
    return tuple(name for own in linears.values() for name in own)


def presets() -> tuple[str, ...]:
    """Names of the policies that come with the package."""
    return tuple(sorted(path.stem for path in _PRESETS.glob("*.toml")))


def _inside(module: str, blocks: str, layers: int) -> bool:
    if blocks == ":":
        return True
    block = _BLOCK.match(module)
    return block is not None and int(block[1]) in range(layers)[_python_slice(blocks)]


def _python_slice(text: str) -> slice:
    match = _SLICE.fullmatch(text)
    assert match is not None, "checked when the policy was read"
    start, stop = (None if number is None else int(number) for number in match.groups())
    return slice(start, stop)


def _tables(
    name: str, data: Mapping[str, Any], kind: str, keys: set[str]
) -> Sequence[Mapping[str, Any]]:
    tables = data.get(kind, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _error(name, f"has a {kind} that is no list of tables", f"[[{kind}]]")
    for table in tables:
        if unknown := sorted(set(table) - keys):
            raise _error(name, f"has unknown keys {unknown} in [[{kind}]]", f"{sorted(keys)}")
    return tables


def _patterns(name: str, table: Mapping[str, Any]) -> tuple[str, ...]:
    patterns = table.get("modules")
    if (
        not isinstance(patterns, list)
        or not patterns
        or not all(isinstance(pattern, str) for pattern in patterns)
    ):
        raise _error(name, f"has modules = {patterns!r}", "a list of patterns")
    return tuple(patterns)


def _precision(name: str, table: Mapping[str, Any]) -> str:
    precision = table.get("precision")
    if precision not in _PRECISIONS:
        raise _error(name, f"has precision = {precision!r}", " or ".join(_PRECISIONS))
    return str(precision)


def _slice(name: str, table: Mapping[str, Any]) -> str:
    blocks = table.get("blocks", ":")
    if not isinstance(blocks, str) or not _SLICE.fullmatch(blocks):
        raise _error(name, f"has blocks = {blocks!r}", 'a slice such as "3:-3" or "-3:"')
    return blocks


def _evidence(name: str, table: Any) -> Evidence | None:
    try:
        return None if table is None else Evidence.parse(table, "[evidence]")
    except BundleError as error:
        raise _error(name, f"has evidence that is none: {error.given}", error.expected) from None


def _error(name: str, given: str, expected: str) -> InputError:
    return InputError(
        f"the policy {name} {given}", expected=expected, action="correct the file", field=_FIELD
    )
