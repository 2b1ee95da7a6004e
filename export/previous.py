"""Bundles that were made before, and what of theirs need not be made again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wan_trt.engine.bundle import Bundle, sha256_file
from wan_trt.engine.errors import BundleError, InputError
from wan_trt.engine.manifest import MANIFEST, SourceFile, StoredTensor
from wan_trt.export.tensor_plan import TensorPlan
from wan_trt.export.tool import tool

_EXPECTED = "a new folder, or a bundle of this checkpoint to replace"
_ACTION = "remove it or choose another name"


class PreviousBundle:
    """A bundle as a store of things that are made already."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    @staticmethod
    def at(out: Path) -> PreviousBundle | None:
        """The bundle that an export to `out` would replace; None if there is none. Raises
        InputError for one that cannot be read."""
        try:
            there = (out / MANIFEST).is_file()
        except OSError:  # a name that is too long: whoever makes the folder says so
            there = False
        if not there:
            return None
        try:
            bundle = Bundle.open(out)
        except BundleError as error:
            raise InputError(
                f"{out} is a bundle that cannot be read ({error.given})",
                expected=_EXPECTED,
                action=_ACTION,
                field="out",
            ) from None
        if strange := sorted(_files(out) - bundle.manifest.files.keys() - {MANIFEST}):
            raise InputError(
                f"{out} holds {strange[0]}, which is not of the bundle",
                expected=_EXPECTED,
                action="move it elsewhere: the folder would be replaced with all that is in it",
                field="out",
            )
        return PreviousBundle(bundle)

    @property
    def path(self) -> Path:
        return self._bundle.path

    @property
    def sources(self) -> Mapping[str, SourceFile]:
        """The files of the checkpoint that it was made from."""
        return self._bundle.manifest.provenance.checkpoint

    def require_made_from(self, sources: Mapping[str, SourceFile]) -> None:
        """Raise InputError unless it was made from the checkpoint with these files."""
        if not self._made_from(sources):
            raise InputError(
                f"{self._bundle.path} is a bundle of another checkpoint",
                expected=_EXPECTED,
                action=_ACTION,
                field="out",
            )

    def unfit(self, sources: Mapping[str, SourceFile]) -> str:
        """Why nothing of it can be used for a checkpoint with these files; empty if it can."""
        if not self._made_from(sources):
            return "it was made from another checkpoint"
        made_by = self._bundle.manifest.provenance.tool
        return "" if made_by == tool() else f"it was made by {made_by}, and this is {tool()}"

    def tensor(self, plan: TensorPlan) -> tuple[StoredTensor, Path] | None:
        """What `plan` would make, and the file it is in."""
        entry = self._bundle.manifest.graphs.get(plan.graph)
        for tensors in entry.weights.values() if entry else ():
            tensor = tensors.get(plan.parameter)
            if tensor and (tensor.made, tensor.shape) == (plan.recipe, plan.shape):
                return tensor, self._bundle.weights_folder / tensor.sha256
        return None

    def small_file(self, name: str, graph: str, dtypes: Mapping[str, str]) -> bytes | None:
        """The graph `graph`, or the prompts that it encodes: they depend on the checkpoint and on
        what the graph's parameters are stored as. None where they would differ or are damaged."""
        manifest, path = self._bundle.manifest, self._bundle.path / name
        entry, traced = manifest.files.get(name), manifest.graphs.get(graph)
        if entry is None or traced is None:
            return None
        for tensors in traced.weights.values():
            if {parameter: tensor.made.dtype for parameter, tensor in tensors.items()} != dtypes:
                return None
        return path.read_bytes() if sha256_file(path) == entry.sha256 else None

    def _made_from(self, sources: Mapping[str, SourceFile]) -> bool:
        mine = {name: file.sha256 for name, file in self.sources.items()}
        return mine == {name: file.sha256 for name, file in sources.items()}


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
