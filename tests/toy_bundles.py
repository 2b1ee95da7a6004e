"""A server of toy bundles that can be changed while it runs, and bundles with something wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from toy_server import toy_server

from wan_trt.engine import Bundle, Engine
from wan_trt.engine.bundle import sha256_file
from wan_trt.engine.manifest import MANIFEST, FileEntry
from wan_trt.server.client import BundleInfo, Client, Retries
from wan_trt.server.server import Server


@contextmanager
def open_to_bundles(
    bundle: Bundle, folder: Path, **options: Any
) -> Iterator[tuple[Server, Client]]:
    """Bundles may come from the folder that `bundle` is in."""
    values: dict[str, Any] = {
        "bundle_roots": (bundle.path.parent,),
        "open_engine": lambda added: Engine(added, threads=1),
        "reserve_nbytes": 0,
    }
    with (
        toy_server(bundle, folder, **(values | options)) as server,
        Client(str(server.address), timeout_s=60, retries=Retries(0.0)) as client,
    ):
        yield server, client


def status_of(client: Client, name: str) -> BundleInfo:
    (status,) = [status for status in client.bundles() if status.name == name]
    return status


def loaded(client: Client, path: Path, name: str = "") -> BundleInfo:
    """Add a bundle, and wait until it serves or is broken."""
    status = client.add_bundle(str(path), name)
    while status.state == "loading":
        time.sleep(0.01)
        status = status_of(client, status.name)
    return status


def until_gone(client: Client, name: str) -> None:
    while any(status.name == name for status in client.bundles()):
        time.sleep(0.01)


def with_right_hashes(bundle: Bundle) -> None:
    """The manifest tells of the files what they are now."""
    files = {
        name: FileEntry(sha256_file(bundle.path / name), (bundle.path / name).stat().st_size)
        for name in bundle.manifest.files
    }
    manifest = replace(bundle.manifest, files=files)
    (bundle.path / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def no_manifest(bundle: Bundle) -> None:
    (bundle.path / MANIFEST).unlink()


def of_another_schema(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, schema=bundle.manifest.schema + 1)
    (bundle.path / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def a_file_less(bundle: Bundle) -> None:
    bundle.graph_path("denoiser").unlink()


def another_weight(bundle: Bundle) -> None:
    """Of the same length: only its hash tells."""
    weight = next(bundle.weights_folder.iterdir())
    weight.write_bytes(weight.read_bytes()[::-1])


def an_unreadable_graph(bundle: Bundle) -> None:
    """With the hash that the manifest has: only opening it tells."""
    bundle.graph_path("vae_decoder_next").write_bytes(b"no graph at all")
    with_right_hashes(bundle)


def another_graph(bundle: Bundle) -> None:
    """That can be opened, and has other inputs."""
    graphs = bundle.path / "graphs"
    (graphs / "image_encoder.onnx").write_bytes((graphs / "text_encoder.onnx").read_bytes())
    with_right_hashes(bundle)


WRONG: tuple[Callable[[Bundle], None], ...] = (
    no_manifest,
    of_another_schema,
    a_file_less,
    another_weight,
    an_unreadable_graph,
    another_graph,
)
