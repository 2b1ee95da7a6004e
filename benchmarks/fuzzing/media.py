"""Files that a client may send: whole ones, damaged ones, and some that were made to hurt."""

from __future__ import annotations

import io
import json
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
from fuzzing.messages import damaged
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save

FIELDS = (
    *("reference", "pose", "face", "background", "mask", "noise"),
    *("video", "keypoints", "matte", "last_frame"),
)
_SUFFIXES = (".png", ".jpg", ".mp4", ".safetensors", ".json", ".webp", ".gif", ".tiff", ".mkv", "")
_FRAMES, _SIZE = 9, (32, 48)


def media() -> st.SearchStrategy[tuple[str, bytes]]:
    """A name and a content, not empty."""
    whole = _whole()
    kept = st.sampled_from(sorted(whole.items()))
    broken = kept.flatmap(
        lambda file: st.tuples(st.just(file[0]), damaged(st.just(file[1])).filter(bool))
    )
    renamed = st.tuples(
        st.sampled_from(_SUFFIXES).map(lambda suffix: f"file{suffix}"),
        kept.map(lambda file: file[1]),
    )
    return st.one_of(broken, broken, st.sampled_from(hostile()), kept, renamed)


def hostile() -> list[tuple[str, bytes]]:
    """Made to hurt."""
    nan = np.full((16, 3, 4, 6), np.nan, np.float32)
    return [
        ("one.png", _png(1, 1)),
        ("wide.png", _png(100_000, 1)),
        ("long.png", _png(1, 100_000)),
        ("bomb.png", _png_claiming(100_000, 100_000)),
        ("bomb2.png", _png_claiming(2**31 - 1, 2**31 - 1)),
        ("bomb3.png", _png_claiming(7_900, 7_900)),
        ("none.png", _png_claiming(0, 0)),
        ("zeros.mp4", bytes(4096)),
        ("odd.mp4", _mp4((2, 2), 1)),
        ("one.mp4", _mp4((32, 48), 1)),
        ("nan.safetensors", save({"segment.0": nan})),
        ("infinite.safetensors", save({"segment.0": nan * 0 + np.inf})),
        ("float.safetensors", save({"frames": np.full((9, 32, 48, 3), np.nan, np.float32)})),
        ("empty.safetensors", save({"frames": np.zeros((0, 32, 48, 3), np.uint8)})),
        ("flat.safetensors", save({"frames": np.zeros((9, 0, 48, 3), np.uint8)})),
        ("thin.safetensors", save({"frames": np.zeros((9, 1, 1, 3), np.uint8)})),
        ("long.safetensors", save({"frames": np.zeros((100_000, 1, 1, 3), np.uint8)})),
        *((f"header{i}.safetensors", content) for i, content in enumerate(_tensor_headers())),
        ("deep.json", b"[" * 200_000),
        ("deep2.json", b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        ("nan.json", json.dumps([{"keypoints": [float("nan")] * 399}] * 9).encode()),
        ("infinite.json", b"[1e999]"),
        ("number.json", b"9" * 100_000),
        ("null.json", b"null"),
        ("surrogate.json", b'{"\\ud800": "\\udfff"}'),
        ("bom.json", b"\xff\xfe[\x00]\x00"),
    ]


def _whole() -> dict[str, bytes]:
    generator = np.random.default_rng(1)
    files = {"clip.mp4": _mp4(_SIZE, _FRAMES)}
    picture = Image.fromarray(generator.integers(0, 256, (40, 30, 3), np.uint8))
    for kind in ("png", "jpeg", "webp", "gif", "tiff", "bmp"):
        content = io.BytesIO()
        picture.save(content, format=kind)
        files[f"picture.{kind}"] = content.getvalue()
    frames = generator.integers(0, 256, (_FRAMES, *_SIZE, 3), np.uint8)
    files["frames.safetensors"] = save({"frames": frames})
    files["faces.safetensors"] = save({"frames": frames[:, :16, :16].copy()})
    files["matte.safetensors"] = save({"frames": frames[..., 0].copy()})
    files["noise.safetensors"] = save(
        {f"segment.{k}": generator.standard_normal((16, 3, 4, 6), np.float32) for k in range(3)}
    )
    person = [[float(x), float(x), 1.0] for x in range(133)]
    files["points.json"] = json.dumps(
        [{"image_id": k, "keypoints": person, "bbox": [0, 0, 9, 9]} for k in range(_FRAMES)]
    ).encode()
    return files


def _png(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height)).save(content, format="PNG")
    return content.getvalue()


def _png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header says so, and whose pixels are far fewer."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    ends = chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + ends


def _mp4(size: tuple[int, int], frames: int) -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(8))
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            pixels = np.full((*size, 3), 20 * number % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return content.getvalue()


def _tensor_headers() -> list[bytes]:
    """Safetensors files whose headers lie."""
    entries: list[object] = [
        {"frames": {"dtype": "U8", "shape": [9, 32, 48, 3], "data_offsets": [0, 2**62]}},
        {"frames": {"dtype": "U8", "shape": [2**40, 2**40, 1, 3], "data_offsets": [0, 8]}},
        {"frames": {"dtype": "U8", "shape": [-1, 32, 48, 3], "data_offsets": [0, 8]}},
        {"frames": {"dtype": "U8", "shape": [1, 1, 1, 3], "data_offsets": [8, 0]}},
        {"frames": {"dtype": "X9", "shape": [1, 1, 1, 3], "data_offsets": [0, 3]}},
        {"frames": {"dtype": "U8", "shape": "all", "data_offsets": None}},
        {"frames": None},
        ["frames"],
        7,
    ]
    made = [json.dumps(entry).encode() for entry in entries]
    made += [b"", b"{", b"\xff" * 20, b"[" * 5000]
    files = [struct.pack("<Q", len(header)) + header + bytes(8) for header in made]
    return [*files, struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 10**8) + b"{}", b"\0"]
