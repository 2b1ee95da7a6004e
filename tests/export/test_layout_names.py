"""The name tables cover the full-size models completely, both ways; names and shapes alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest
import torch

from wan_trt.export.layouts.clip_names import clip_table
from wan_trt.export.layouts.correspondence import NameTable
from wan_trt.export.layouts.dit_names import blur_kernel, dit_table
from wan_trt.export.layouts.umt5_names import umt5_table
from wan_trt.export.layouts.vae_names import vae_table

Shapes = Mapping[str, tuple[int, ...]]
Table = Callable[[Iterable[str]], NameTable]

# table, the project's list of original names, the list of the class's own
PARTS: tuple[tuple[Table, str, str], ...] = (
    (dit_table, "dit_animate14b_original", "wan_animate_transformer"),
    (dit_table, "dit_i2v_a14b_original", "wan_transformer"),
    (vae_table, "vae_wan21", "autoencoder_kl_wan"),
    (clip_table, "clip_visual", "clip_vision"),
    (umt5_table, "umt5_xxl_encoder", "umt5_encoder"),
)
TABLES = [(table, others) for table, _, others in PARTS]
CLASSES = [name for *_, name in PARTS]
NOT_UPSTREAM = "encoder.embed_tokens.weight"  # the same tensor as shared.weight


def original_shapes(shared: Path, listing: str) -> Shapes:
    shapes = json.loads((shared / "facts" / "names" / f"{listing}.json").read_text())
    prefix = "visual." if listing == "clip_visual" else ""
    return {prefix + name: tuple(shape) for name, shape in shapes.items()}


def class_shapes(listing: str) -> Shapes:
    """State dicts of the real classes, written down once: `{0..39}` stands for 40 names."""
    file = Path(__file__).parent / "names" / f"{listing}.txt"
    shapes = {}
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            name, *shape = line.split()
            for each in _spread(name):
                shapes[each.removeprefix("vision_model.")] = tuple(map(int, shape))
    return shapes


def _spread(name: str) -> Iterator[str]:
    match = re.search(r"\{(\d+)\.\.(\d+)\}", name)
    if match is None:
        yield name
    else:
        for i in range(int(match[1]), int(match[2]) + 1):
            yield name.replace(match[0], str(i))


@pytest.mark.parametrize(("table", "originals", "others"), PARTS, ids=CLASSES)
def test_original_names_and_shapes_come_from_those_of_the_class(
    shared: Path, table: Table, originals: str, others: str
) -> None:
    there = class_shapes(others)
    rows = table(there)
    assert not rows.missing(there)
    assert not rows.unknown(there)
    made = {
        row.original: row.join_shapes(there[part] for part in row.parts)
        for row in rows
        if there.keys() >= set(row.parts)
    }
    assert made == original_shapes(shared, originals)


@pytest.mark.parametrize(("table", "originals", "others"), PARTS, ids=CLASSES)
def test_the_names_and_shapes_of_the_class_come_from_the_original_ones(
    shared: Path, table: Table, originals: str, others: str
) -> None:
    there = original_shapes(shared, originals)
    rows = table(there)
    assert not rows.as_original(there).missing(there)
    assert not rows.as_original(there).unknown(there)
    made = {
        part: tuple(tensor.shape)
        for row in rows
        if row.original in there
        for part, tensor in row.split(torch.empty(there[row.original], device="meta")).items()
    }
    wanted = dict(class_shapes(others))
    wanted.pop(NOT_UPSTREAM, None)
    assert made == wanted


@pytest.mark.parametrize(("table", "originals", "others"), PARTS, ids=CLASSES)
def test_both_spellings_give_the_same_table(
    shared: Path, table: Table, originals: str, others: str
) -> None:
    pairs = [
        [(row.original, row.parts) for row in table(names)]
        for names in (original_shapes(shared, originals), class_shapes(others))
    ]
    assert pairs[0] == pairs[1]


def test_the_table_of_animate_is_the_given_one(shared: Path) -> None:
    listing = shared / "facts" / "names" / "map_original_to_diffusers.json"
    given = {
        name: (target,) if isinstance(target, str) else tuple(target or ())
        for name, target in json.loads(listing.read_text()).items()
    }
    assert {row.original: row.parts for row in dit_table(given)} == given


def test_diffusers_names_of_animate_are_the_given_ones(shared: Path) -> None:
    given = shared / "facts" / "names" / "dit_animate14b_diffusers.json"
    shapes = {name: tuple(shape) for name, shape in json.loads(given.read_text()).items()}
    assert class_shapes("wan_animate_transformer") == shapes


@pytest.mark.parametrize(("table", "others"), TABLES, ids=CLASSES)
def test_every_name_is_needed(table: Table, others: str) -> None:
    """Without any one of a sample of tensors, the table names exactly that one."""
    shapes = class_shapes(others)
    optional = re.compile(rf"post_layernorm|visual_projection|{NOT_UPSTREAM}|shared")
    for name in [name for name in list(shapes)[::7] if not optional.search(name)]:
        left = [other for other in shapes if other != name]
        assert table(left).missing(left) == [name]


@pytest.mark.parametrize(("table", "others"), TABLES, ids=CLASSES)
def test_names_of_nothing_are_told(table: Table, others: str) -> None:
    names = [*class_shapes(others), "blocks.0.extra.weight"]
    assert table(names).unknown(names) == ["blocks.0.extra.weight"]


def test_joining_undoes_splitting() -> None:
    names = ["face_adapter.fuser_blocks.0.linear1_q.weight", "blocks.0.modulation"]
    for row in (*dit_table(names), *clip_table(["transformer.0.mlp.0.weight"])):
        shape = {"visual.pos_embedding": (1, 4, 6), "visual.cls_embedding": (1, 1, 6)}
        tensor = torch.randn(shape.get(row.original, (6, 4)))
        if row.original.startswith("motion_encoder") and row.original.endswith("1.bias"):
            tensor = tensor.reshape(1, -1, 1, 1)
        if row.parts:
            assert torch.equal(row.join(tuple(row.split(tensor).values())), tensor)


def test_the_blur_adds_nothing() -> None:
    assert blur_kernel().shape == (4, 4)
    assert blur_kernel().sum() == 1
