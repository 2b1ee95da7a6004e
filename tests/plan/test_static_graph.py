"""Graphs at one size."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from exported import GRAPHS
from planned import SIZE, target

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError
from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.plan.static_graph import StaticGraph, fix_sizes, load_graph
from wan_trt.plan.targets import VideoSize


def at_size(bundle: Bundle, name: str, size: VideoSize = SIZE) -> StaticGraph:
    spec = bundle.manifest.graphs[name].spec
    return fix_sizes(load_graph(bundle.graph_path(name)), spec, target(bundle, name, size=size))


@pytest.mark.parametrize("name", GRAPHS)
def test_every_tensor_has_a_type_and_outputs_are_what_the_manifest_says(
    tiny_bundle: Bundle, name: str
) -> None:
    graph, engine = at_size(tiny_bundle, name), target(tiny_bundle, name)
    for node in graph.model.graph.node:
        for value in filter(None, (*node.input, *node.output)):
            assert all(side > 0 for side in graph.types[value].shape), value
    for tensor in tiny_bundle.manifest.graphs[name].outputs:
        assert graph.types[tensor.name].shape == tensor.shape(engine.most)


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"text_encoder", "motion_encoder"}))
def test_nothing_of_sizes_is_left_to_compute(tiny_bundle: Bundle, name: str) -> None:
    graph = at_size(tiny_bundle, name).model
    assert "Shape" not in {node.op_type for node in graph.graph.node}
    for value in (*graph.graph.input, *graph.graph.output):
        assert not any(side.dim_param for side in value.type.tensor_type.shape.dim)
    onnx.checker.check_model(_without_weights(graph))


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The checker looks for the files of weights, which are elsewhere: they become inputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    external = [tensor for tensor in copy.graph.initializer if tensor.external_data]
    for tensor in external:
        kind = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        copy.graph.input.append(kind)
        copy.graph.initializer.remove(tensor)
    return copy


def test_a_range_of_sizes_stays_symbolic(tiny_bundle: Bundle) -> None:
    graph = at_size(tiny_bundle, "text_encoder")
    [tokens] = graph.model.graph.input
    assert tokens.type.tensor_type.shape.dim[0].dim_param
    assert graph.types["token_ids"].shape == (32,)


def test_large_constants_stay_computed(tiny_bundle: Bundle) -> None:
    """The decoder's zero states: at full size they would swell the graph by gigabytes."""
    graph = at_size(tiny_bundle, "vae_decoder_first", VideoSize(1280, 720, 77))
    inline = [tensor for tensor in graph.model.graph.initializer if not tensor.external_data]
    assert sum(len(tensor.raw_data) for tensor in inline) < 100_000
    assert graph.types["next_cache_00"].shape == (16, 2, 90, 160)


def test_the_bundles_graph_is_not_changed(tiny_bundle: Bundle) -> None:
    model = load_graph(tiny_bundle.graph_path("denoiser"))
    before = model.SerializeToString(deterministic=True)
    fix_sizes(model, tiny_bundle.manifest.graphs["denoiser"].spec, target(tiny_bundle, "denoiser"))
    assert model.SerializeToString(deterministic=True) == before


def test_an_interface_that_is_not_the_manifests(tiny_bundle: Bundle) -> None:
    model = load_graph(tiny_bundle.graph_path("denoiser"))
    velocity = TensorSpec("velocity", "float32", (17, "frames", "2*rows", "2*columns"))
    spec = GraphSpec(tiny_bundle.manifest.graphs["denoiser"].inputs, (velocity,))
    with pytest.raises(BundleError, match="output velocity of graph denoiser is"):
        fix_sizes(model, spec, target(tiny_bundle, "denoiser"))


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="is no ONNX graph"):
        load_graph(tmp_path / "x.onnx")
