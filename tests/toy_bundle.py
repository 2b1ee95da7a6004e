"""A toy bundle: the graphs of an Animate model with the right interfaces and trivial arithmetic.

It lets the engine's life be tested without torch and in milliseconds. What the graphs compute is
written beside each; `gain` is the external weight of the expert's graphs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import parser
from safetensors.numpy import save_file

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.bundle import sha256_file as sha256
from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.engine.geometry import FaceGeometry, Geometry, ImageGeometry
from wan_trt.engine.manifest import (
    SCHEMA,
    FileEntry,
    GraphEntry,
    Manifest,
    Provenance,
    Recipe,
    StoredTensor,
)
from wan_trt.engine.models import ModelName

GEOMETRY = Geometry(
    dim=12,
    heads=2,
    layers=1,
    text_dim=3,
    text_tokens=8,
    image=ImageGeometry(dim=2, tokens=2, size=14),
    face=FaceGeometry(layers=1, size=8, motion_dim=2),
)

IMAGE, CLIP, GRID = ("8*height", "8*width"), ("height", "width"), ("2*rows", "2*columns")
TEXT_KEYS, IMAGE_KEYS = (1, 8, 12), (1, 2, 12)
FACE_KEYS = (1, "frames", 5, 12)

# name: (inputs, outputs, nodes)
GRAPHS: dict[
    str, tuple[dict[str, tuple[int | str, ...]], dict[str, tuple[int | str, ...]], str]
] = {
    # every row repeats its token id
    "text_encoder": (
        {"token_ids": ("tokens",)},
        {"text_rows": ("tokens", 3)},
        "f = Cast <to = 1> (token_ids) a = Constant <value_ints = [1]> () c = Unsqueeze (f, a)"
        "r = Constant <value_ints = [1, 3]> () text_rows = Tile (c, r)",
    ),
    # the mean of the picture
    "image_encoder": (
        {"image": (3, "height", "width")},
        {"image_features": (2, 2)},
        "m = ReduceMean <keepdims = 0> (image) s = Constant <value_ints = [2, 2]> ()"
        "image_features = Expand (m, s)",
    ),
    # 8 x 8 means; later chunks add all chunks before them
    "vae_encoder_first": (
        {"frames": (3, 1, *IMAGE)},
        {"latents": (16, 1, *CLIP), "next_cache_00": (16, 1, *CLIP)},
        "a = Constant <value_ints = [0, 1]> () m = ReduceMean (frames, a)"
        "p = AveragePool <kernel_shape = [8, 8], strides = [8, 8]> (m)"
        "r = Constant <value_ints = [16, 1, 1, 1]> () latents = Tile (p, r)"
        "next_cache_00 = Identity (latents)",
    ),
    "vae_encoder_next": (
        {"frames": (3, 4, *IMAGE), "cache_00": (16, 1, *CLIP)},
        {"latents": (16, 1, *CLIP), "next_cache_00": (16, 1, *CLIP)},
        "a = Constant <value_ints = [0, 1]> () m = ReduceMean (frames, a)"
        "p = AveragePool <kernel_shape = [8, 8], strides = [8, 8]> (m)"
        "r = Constant <value_ints = [16, 1, 1, 1]> () t = Tile (p, r) latents = Add (t, cache_00)"
        "next_cache_00 = Identity (latents)",
    ),
    # the mean latent so far, as 8 x 8 blocks
    "vae_decoder_first": (
        {"latents": (16, 1, *CLIP)},
        {"frames": (3, 1, *IMAGE), "next_cache_00": (16, 1, *CLIP)},
        "a = Constant <value_ints = [0, 1]> () m = ReduceMean (latents, a) t = Tanh (m)"
        "s = Constant <value_floats = [1.0, 1.0, 8.0, 8.0]> ()"
        'b = Resize <mode = "nearest"> (t, , s) r = Constant <value_ints = [3, 1, 1, 1]> ()'
        "frames = Tile (b, r) next_cache_00 = Identity (latents)",
    ),
    "vae_decoder_next": (
        {"latents": (16, 1, *CLIP), "cache_00": (16, 1, *CLIP)},
        {"frames": (3, 4, *IMAGE), "next_cache_00": (16, 1, *CLIP)},
        "next_cache_00 = Add (latents, cache_00)"
        "a = Constant <value_ints = [0, 1]> () m = ReduceMean (next_cache_00, a) t = Tanh (m)"
        "s = Constant <value_floats = [1.0, 1.0, 8.0, 8.0]> ()"
        'b = Resize <mode = "nearest"> (t, , s) r = Constant <value_ints = [3, 4, 1, 1]> ()'
        "frames = Tile (b, r)",
    ),
    # the mean of each face
    "motion_encoder": (
        {"faces": ("batch", 3, 8, 8)},
        {"motion": ("batch", 2)},
        "a = Constant <value_ints = [1, 2, 3]> () m = ReduceMean <keepdims = 0> (faces, a)"
        "u = Constant <value_ints = [1]> () c = Unsqueeze (m, u)"
        "r = Constant <value_ints = [1, 2]> () motion = Tile (c, r)",
    ),
    # means, spread over the keys and scaled by the expert's gain
    "face_context": (
        {"motion": ("4*latents-3", 2)},
        {"face_keys": (1, "latents+1", 5, 12), "face_values": (1, "latents+1", 5, 12)},
        "m = ReduceMean <keepdims = 0> (motion) g = Mul (m, gain) s = Shape (motion)"
        "z = Constant <value_ints = [0]> () n = Gather (s, z) four = Constant <value_ints = [4]> ()"
        "q = Div (n, four) two = Constant <value_ints = [2]> () l = Add (q, two)"
        "one = Constant <value_ints = [1]> () tail = Constant <value_ints = [5, 12]> ()"
        "d = Concat <axis = 0> (one, l, tail) face_keys = Expand (g, d)"
        "face_values = Identity (face_keys)",
    ),
    "text_context": (
        {"text_rows": (8, 3)},
        {"text_keys": TEXT_KEYS, "text_values": TEXT_KEYS},
        "m = ReduceMean <keepdims = 0> (text_rows) g = Mul (m, gain)"
        "s = Constant <value_ints = [1, 8, 12]> () text_keys = Expand (g, s)"
        "text_values = Identity (text_keys)",
    ),
    "image_context": (
        {"image_features": (2, 2)},
        {"image_keys": IMAGE_KEYS, "image_values": IMAGE_KEYS},
        "m = ReduceMean <keepdims = 0> (image_features) g = Mul (m, gain)"
        "s = Constant <value_ints = [1, 2, 12]> () image_keys = Expand (g, s)"
        "image_values = Identity (image_keys)",
    ),
    "segment_context": (
        {"condition": (20, "latents+1", *GRID), "pose_latents": (16, "latents", *GRID)},
        {"tokens": ("latents+1", "rows", "columns", 12)},
        "z = Constant <value_ints = [0]> () c = ReduceMean <keepdims = 0> (condition, z)"
        "b = Constant <value_ints = [0, 0]> () e = Constant <value_ints = [9999, 9999]> ()"
        "x = Constant <value_ints = [1, 2]> () t = Constant <value_ints = [2, 2]> ()"
        "s = Slice (c, b, e, x, t) p = ReduceMean <keepdims = 0> (pose_latents) a = Add (s, p)"
        "g = Mul (a, gain) three = Constant <value_ints = [3]> () u = Unsqueeze (g, three)"
        "r = Constant <value_ints = [1, 1, 1, 12]> () tokens = Tile (u, r)",
    ),
    # the sum of the means of everything it is given, plus gain * latents
    "denoiser": (
        {
            "latents": (16, "frames", *GRID),
            "timestep": (1,),
            "tokens": ("frames", "rows", "columns", 12),
            "rope_cos": ("frames", "rows", "columns", 3),
            "rope_sin": ("frames", "rows", "columns", 3),
            "text_keys": TEXT_KEYS,
            "text_values": TEXT_KEYS,
            "image_keys": IMAGE_KEYS,
            "image_values": IMAGE_KEYS,
            "face_keys": FACE_KEYS,
            "face_values": FACE_KEYS,
        },
        {"velocity": (16, "frames", *GRID)},
        "a = ReduceMean <keepdims = 0> (tokens) b = ReduceMean <keepdims = 0> (text_keys)"
        "c = ReduceMean <keepdims = 0> (image_keys) d = ReduceMean <keepdims = 0> (face_keys)"
        "f = Cast <to = 1> (timestep) k = Constant <value_float = 0.001> () t = Mul (f, k)"
        "s = Sum (a, b, c, d, t) l = Mul (latents, gain) velocity = Add (l, s)",
    ),
}
EXPERT_GRAPHS = ("face_context", "text_context", "image_context", "segment_context", "denoiser")
IDS = ("token_ids", "timestep")


def spec_of(name: str) -> GraphSpec:
    inputs, outputs, _ = GRAPHS[name]
    return GraphSpec(
        tuple(TensorSpec(n, "int64" if n in IDS else "float32", d) for n, d in inputs.items()),
        tuple(TensorSpec(n, "float32", d) for n, d in outputs.items()),
    )


def write_graph(name: str, path: Path) -> None:
    """Write graph `name`, with `gain` as external data where it is an expert's."""
    inputs, outputs, nodes = GRAPHS[name]

    def declare(tensors: dict[str, tuple[int | str, ...]], prefix: str) -> str:
        return ", ".join(
            f"{'int64' if n in IDS else 'float'}"
            f"[{', '.join(f'{prefix}{n}_{i}' for i in range(len(d)))}] {n}"
            for n, d in tensors.items()
        )

    model = parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 23]> {name} ({declare(inputs, "i")}) => '
        f"({declare(outputs, 'o')}) {{ {nodes} }}"
    )
    if name in EXPERT_GRAPHS:
        gain = onnx.TensorProto(name="gain", data_type=onnx.TensorProto.FLOAT)
        gain.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "gain"), ("offset", "0"), ("length", "4")):
            gain.external_data.add(key=key, value=value)
        model.graph.initializer.append(gain)
    path.write_bytes(model.SerializeToString())


def store(root: Path, gain: float) -> StoredTensor:
    """Put the number into the bundle's weights."""
    data = np.float32(gain).tobytes()
    name = hashlib.sha256(data).hexdigest()
    (root / "weights" / name).write_bytes(data)
    return StoredTensor(name, (), Recipe("dit", ("gain",), "float32"))


def write_toy_bundle(
    root: Path, high: float = 0.5, low: float = 0.5, boundary: float = 0.9
) -> Bundle:
    """One gain for both experts gives one weight set."""
    (root / "graphs").mkdir(parents=True)
    same = np.float32(high).tobytes() == np.float32(low).tobytes()
    gains = {"shared": high} if same else {"high": high, "low": low}
    (root / "weights").mkdir()
    sets = {weight_set: {"gain": store(root, gain)} for weight_set, gain in gains.items()}
    entries = {}
    for name in GRAPHS:
        write_graph(name, root / "graphs" / f"{name}.onnx")
        spec = spec_of(name)
        weights = sets if name in EXPERT_GRAPHS else {"shared": {}}
        entries[name] = GraphEntry(spec.inputs, spec.outputs, weights)
    prompts = {
        "positive": np.full((2, 3), 0.5, np.float32),
        "negative": np.full((4, 3), -0.5, np.float32),
    }
    save_file(prompts, root / "prompts.safetensors")
    files = {
        str(path.relative_to(root)): FileEntry(sha256(path), path.stat().st_size)
        for path in root.rglob("*")
        if path.is_file()
    }
    manifest = Manifest(
        schema=SCHEMA,
        model=ModelName.ANIMATE,
        precision="fp32",
        boundary=boundary,
        geometry=GEOMETRY,
        graphs=entries,
        files=files,
        prompts={"positive": "a person moves", "negative": "blurry"},
        provenance=Provenance(tool="test", checkpoint={}),
    )
    (root / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.open(root)
