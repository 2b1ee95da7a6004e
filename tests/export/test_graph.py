"""The graphs of a bundle: opset, operators, symbols; no weights and no traces of the exporter."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
from exported import GRAPHS

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import TensorSpec
from wan_trt.export.synthetic.sizes import TINY


def _load(bundle: Bundle, name: str) -> onnx.ModelProto:
    return onnx.load(bundle.graph_path(name), load_external_data=False)


def _nodes(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def _dimensions(value: onnx.ValueInfoProto) -> list[int | str]:
    shape = value.type.tensor_type.shape.dim
    return [dim.dim_param or dim.dim_value for dim in shape]


def test_the_bundle_has_the_graphs_of_the_architecture(tiny_bundle: Bundle) -> None:
    assert set(tiny_bundle.manifest.graphs) == set(GRAPHS)
    files = {path.name for path in (tiny_bundle.path / "graphs").iterdir()}
    assert files == {f"{name}.onnx" for name in GRAPHS}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_opset_23_and_holds_no_weights(tiny_bundle: Bundle, name: str) -> None:
    model = _load(tiny_bundle, name)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 23
    assert {node.domain for node in model.graph.node} == {""}
    inside = [i for i in model.graph.initializer if not i.external_data]
    assert sum(len(i.raw_data) for i in inside) < 4096
    outside = [i for i in model.graph.initializer if i.external_data]
    assert outside
    for initializer in outside:
        stored = {entry.key: entry.value for entry in initializer.external_data}
        assert stored["location"] == initializer.name
        assert int(stored["offset"]) == 0


@pytest.mark.parametrize("name", GRAPHS)
def test_inputs_and_outputs_are_as_the_manifest_says(tiny_bundle: Bundle, name: str) -> None:
    model = _load(tiny_bundle, name)
    spec = tiny_bundle.manifest.graphs[name].spec

    def names(specs: tuple[TensorSpec, ...]) -> list[str]:
        return [tensor.name for tensor in specs]

    assert [value.name for value in model.graph.input] == names(spec.inputs)
    assert [value.name for value in model.graph.output] == names(spec.outputs)
    for value, tensor in zip(model.graph.output, spec.outputs, strict=True):
        assert _dimensions(value) == list(tensor.dimensions)
    for value, tensor in zip(model.graph.input, spec.inputs, strict=True):
        for found, stated in zip(_dimensions(value), tensor.dimensions, strict=True):
            assert isinstance(found, type(stated))


def test_no_paths_of_the_exporting_machine(tiny_bundle: Bundle) -> None:
    for name in GRAPHS:
        data = tiny_bundle.graph_path(name).read_bytes()
        assert b".py" not in data
        assert str(Path(__file__).parents[2]).encode() not in data


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_that_differs_from_one_export_to_the_next(tiny_bundle: Bundle, name: str) -> None:
    graph = _load(tiny_bundle, name).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    entries = [entry for value in values for entry in value.metadata_props]
    entries += [entry for node in graph.node for entry in node.metadata_props]
    assert not [*graph.metadata_props, *entries]


def test_the_denoiser_uses_fused_nodes(tiny_bundle: Bundle) -> None:
    nodes = _nodes(_load(tiny_bundle, "denoiser"))
    assert nodes["Attention"] == 3 * TINY.layers + TINY.face_layers
    assert nodes["RotaryEmbedding"] == 2 * TINY.layers
    # queries and keys of self-attention, queries of cross-attention and of the face blocks
    assert nodes["RMSNormalization"] == 3 * TINY.layers + TINY.face_layers
    assert nodes["LayerNormalization"] == 3 * TINY.layers + TINY.face_layers + 1
    assert not nodes.keys() & {"Softmax", "Erf", "Einsum", "Identity"}


def test_the_encoders_use_fused_attention(tiny_bundle: Bundle) -> None:
    text, image = (_nodes(_load(tiny_bundle, f"{kind}_encoder")) for kind in ("text", "image"))
    assert text["Attention"] == TINY.text_layers
    assert text["RMSNormalization"] == 2 * TINY.text_layers + 1
    assert image["Attention"] == TINY.image_layers - 1
    for name in ("vae_encoder_first", "vae_decoder_next"):
        assert _nodes(_load(tiny_bundle, name))["Attention"] == 1


def test_experts_share_the_graph_and_differ_in_weights(tiny_bundle: Bundle) -> None:
    entry = tiny_bundle.manifest.graphs["denoiser"]
    assert set(entry.weights) == {"high", "low"}
    high, low = (tiny_bundle.tensor_files("denoiser", weight_set) for weight_set in entry.weights)
    assert high.keys() == low.keys()
    assert high != low
