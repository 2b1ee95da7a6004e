"""What is known of a bundle before it is made: enough to tell what it will be able to run."""

from __future__ import annotations

from wan_trt.engine.manifest import SCHEMA, GraphEntry, Manifest, Provenance
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graphs import BundlePlan
from wan_trt.export.options import ExportOptions
from wan_trt.export.prompts import PROMPTS
from wan_trt.export.tool import tool

DEFAULT_BOUNDARY = 0.9  # of both models; a share of 1000 timesteps


def boundary_of(options: ExportOptions, checkpoint: Checkpoint) -> float:
    """The share of 1000 timesteps at which the experts of the bundle change."""
    given = (options.boundary, checkpoint.boundary)
    return next((boundary for boundary in given if boundary is not None), DEFAULT_BOUNDARY)


def outline(checkpoint: Checkpoint, contents: BundlePlan, options: ExportOptions) -> Manifest:
    """A manifest without files, weights and sources."""
    modules = contents.modules
    return Manifest(
        schema=SCHEMA,
        model=checkpoint.model,
        precision=options.precision.value,
        boundary=boundary_of(options, checkpoint),
        geometry=contents.geometry,
        graphs={
            name: GraphEntry(module.spec.inputs, module.spec.outputs, {})
            for name, module in modules.items()
        },
        files={},
        prompts=PROMPTS[checkpoint.model],
        provenance=Provenance(tool(), {}),
    )
