"""A job's tensors follow from its graphs, its guidance and the experts that run."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from toy_jobs import MakeBundle

from wan_trt.engine.memory.layout import ALIGNMENT
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.engine.stages.branches import branches_of
from wan_trt.engine.stages.job_layout import denoising_sizes, job_layout

HIGH, LOW = ExpertName.HIGH, ExpertName.LOW
SHAPE = (16, 3, 2, 4)
NamesFor = Callable[[dict[ExpertName, bool]], set[str]]


@pytest.fixture
def names_for(make_bundle: MakeBundle) -> NamesFor:
    manifest = make_bundle(high=0.5, low=0.25).manifest
    sizes = denoising_sizes(manifest.geometry, SHAPE)

    def names(guided: dict[ExpertName, bool]) -> set[str]:
        branches = branches_of(ModelName.ANIMATE, any(guided.values()))
        layout = job_layout(manifest, branches, sizes, guided)
        assert layout.nbytes == sum(
            math.ceil(shape.nbytes / ALIGNMENT) * ALIGNMENT for shape in layout.shapes.values()
        )
        return set(layout.shapes)

    return names


def test_what_varies_is_there_once_the_rest_for_each_expert(names_for: NamesFor) -> None:
    names = names_for({HIGH: False, LOW: False})
    text = {name for name in names if name.endswith("text_keys")}
    assert text == {f"text_context(text_rows).{expert}.text_keys" for expert in ExpertName}
    faces = {name for name in names if name.endswith("face_keys")}
    assert faces == {"face_context(motion).face_keys"}
    assert "unconditional_velocity" not in names
    assert "negative_rows" not in names


def test_guidance_of_one_expert_adds_what_that_one_reads(names_for: NamesFor) -> None:
    added = names_for({HIGH: True, LOW: False}) - names_for({HIGH: False, LOW: False})
    assert added == {
        "unconditional_velocity",
        "negative_rows",
        "black_motion",
        *(f"text_context(negative_rows).high.text_{kind}" for kind in ("keys", "values")),
        *(f"face_context(black_motion).high.face_{kind}" for kind in ("keys", "values")),
    }


def test_an_expert_that_does_not_run_has_nothing(names_for: NamesFor) -> None:
    assert not any(".high." in name for name in names_for({LOW: True}))
