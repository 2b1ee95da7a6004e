"""The bundle: the folder that export writes and the runtime reads; all that the two share.

    manifest.json             what is inside, with hashes: parsed into Manifest
    graphs/NAME.onnx          one file a graph, without weights
    weights/SHA256            one file a tensor, named by the hash of its bytes
    prompts.safetensors       text rows of the model's own prompts
    tokenizer.json            for other prompts
    lora_report.json          what was folded, key by key (only with LoRAs)
    sensitivity.json          what each linear costs at FP8 (only where a search measured it)
    plans/                    what `wan-trt build` adds on a GPU host

The manifest says which tensor each parameter of a graph is, once for all or for each expert. So
both experts share one graph file, and every tensor that they have in common is stored once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wan_trt.engine.calibration_record import require_calibrated
from wan_trt.engine.errors import BundleError
from wan_trt.engine.manifest import MANIFEST, Manifest
from wan_trt.engine.models import REQUIRED_GRAPHS
from wan_trt.engine.request import ExpertName

WEIGHTS = "weights"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. Opening checks that every file is there at its recorded length, and that
    each expert has what calibration found for it."""

    path: Path
    manifest: Manifest

    @staticmethod
    def open(path: str | Path) -> Bundle:
        """Raises BundleError for a missing, truncated, foreign or newer bundle."""
        root = Path(path)
        try:
            text = (root / MANIFEST).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(
                f"{root} has no {MANIFEST}",
                expected="a folder written by `wan-trt export`",
                action="check the path",
            ) from None
        except OSError as error:
            raise BundleError(
                f"{root / MANIFEST} cannot be read ({error.strerror or error})",
                expected="a file that this user may read",
                action="check its permissions",
            ) from None
        except UnicodeDecodeError as error:
            raise BundleError(
                f"{root / MANIFEST} is not UTF-8 ({error.reason} at byte {error.start})",
                action="copy or export the bundle again",
            ) from None
        manifest = Manifest.from_json(text, str(root / MANIFEST))
        for name, entry in manifest.files.items():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise BundleError(
                    f"{root / MANIFEST} names the file {name}",
                    expected="files inside the bundle",
                    action="do not use a bundle of this origin",
                )
            file = root / name
            nbytes = file.stat().st_size if file.is_file() else None
            if nbytes != entry.nbytes:
                found = "is missing" if nbytes is None else f"has {nbytes} bytes"
                raise BundleError(
                    f"{file} {found}",
                    expected=f"{entry.nbytes} bytes",
                    action="copy or export the bundle again",
                )
        _check_tensors(root, manifest)
        require_calibrated(manifest, str(root / MANIFEST))
        _check_plans(root, manifest)
        return Bundle(root, manifest)

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which has the hash of every file: equal ones give equal
        results."""
        return hashlib.sha256(self.manifest.to_json().encode()).hexdigest()

    def require_all_graphs(self) -> None:
        """Raises BundleError for a bundle that lacks graphs without which its model cannot run."""
        model = self.manifest.model
        if missing := sorted(set(REQUIRED_GRAPHS[model]) - set(self.manifest.graphs)):
            raise BundleError(
                f"{self.path} has no graphs {missing}",
                expected=f"all graphs of {model}",
                action="export the bundle again",
            )

    def verify(self, on_progress: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Hash every file: slow for real models, exact. `on_progress` gets bytes done and in all.
        Raises BundleError on a mismatch."""
        total = sum(entry.nbytes for entry in self.manifest.files.values())
        done = 0
        for name, entry in self.manifest.files.items():
            if (found := sha256_file(self.path / name)) != entry.sha256:
                raise BundleError(
                    f"{self.path / name} has sha256 {found}",
                    expected=entry.sha256,
                    action="copy it again, or remove the bundle and export it",
                )
            done += entry.nbytes
            on_progress(done, total)

    def graph_path(self, name: str) -> Path:
        return self.path / "graphs" / f"{name}.onnx"

    def weight_set(self, name: str, expert: ExpertName | None = None) -> str:
        """The weight set that graph `name` uses for `expert`."""
        return self.manifest.weight_set(name, expert)

    def expert_files(self, expert: ExpertName) -> list[Path]:
        """Weights and plans of what this expert does not share with the other."""
        found: dict[Path, None] = {}
        for graph, entry in self.manifest.graphs.items():
            weight_set = self.weight_set(graph, expert)
            if len(entry.weights) > 1:
                files = self.tensor_files(graph, weight_set).values()
                found |= dict.fromkeys(self.weights_folder / file for file in files)
        for plan in self.manifest.plans:
            shared = len(self.manifest.graphs[plan.graph].weights) == 1
            if not shared and plan.weight_set == self.weight_set(plan.graph, expert):
                found[self.path / plan.file] = None
        return list(found)

    @property
    def weights_folder(self) -> Path:
        return self.path / WEIGHTS

    def tensor_files(self, name: str, weight_set: str) -> dict[str, str]:
        """Of graph `name` with a weight set: parameter -> file in the weights folder."""
        tensors = self.manifest.graphs[name].weights[weight_set]
        return {parameter: tensor.sha256 for parameter, tensor in tensors.items()}


def _check_tensors(root: Path, manifest: Manifest) -> None:
    """Every parameter has a file whose name is its hash."""
    for graph, contents in manifest.graphs.items():
        for tensors in contents.weights.values():
            for parameter, tensor in tensors.items():
                entry = manifest.files.get(f"{WEIGHTS}/{tensor.sha256}")
                if entry is None or entry.sha256 != tensor.sha256:
                    raise BundleError(
                        f"{root / MANIFEST} lists no file for {parameter} of graph {graph}",
                        expected=f"{WEIGHTS}/{tensor.sha256} with that hash among its files",
                        action="export the bundle again",
                    )
                if len(tensor.norms) != len(tensor.made.folds):
                    raise BundleError(
                        f"{root / MANIFEST} has {len(tensor.norms)} norms of {parameter}",
                        expected=f"one for each of its {len(tensor.made.folds)} folds",
                        action="export the bundle again",
                    )


def _check_plans(root: Path, manifest: Manifest) -> None:
    """Every plan is a file of the bundle with the plan's hash, and so is its graph there."""
    for plan in manifest.plans:
        entry = manifest.files.get(plan.file)
        if entry is None or entry.sha256 != plan.sha256 or plan.model not in manifest.files:
            raise BundleError(
                f"{root / MANIFEST} lists no file for the plan {plan.file}",
                expected=f"{plan.file} with sha256 {plan.sha256}, and {plan.model}",
                action="build the plans again",
            )


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
