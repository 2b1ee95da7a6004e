"""What the server makes videos with, as it tells clients."""

from __future__ import annotations

from typing import Any

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import IMAGE_TO_VIDEO_SAMPLING, Sampling
from wan_trt.engine.validation import MAX_STEPS
from wan_trt.preprocess.networks.folder import NetworkFolder
from wan_trt.server.messages import EXPERTS, FORMATS
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.submission_messages import SOLVERS
from wan_trt.server.wire_values import number_of

_MODELS: dict[ModelName, wire.Model] = {
    ModelName.ANIMATE: wire.MODEL_ANIMATE,
    ModelName.IMAGE_TO_VIDEO: wire.MODEL_IMAGE_TO_VIDEO,
}


def bundle_to_wire(
    bundle: Bundle,
    name: str,
    state: wire.BundleState,
    networks: NetworkFolder | None,
    *,
    max_upload_nbytes: int,
    max_unfinished_jobs: int,
) -> wire.Bundle:
    manifest = bundle.manifest
    animate = manifest.model is ModelName.ANIMATE
    sampling = Sampling() if animate else IMAGE_TO_VIDEO_SAMPLING
    high, low = sampling.guidance
    return wire.Bundle(
        name=name,
        digest=bundle.digest,
        model=_MODELS[manifest.model],
        precision=manifest.precision,
        state=state,
        loras=[_lora(entry) for entry in manifest.provenance.loras],
        limits=wire.Limits(
            size_multiple=manifest.geometry.pixel_multiple,
            max_steps=MAX_STEPS,
            max_upload_nbytes=max_upload_nbytes,
            max_unfinished_jobs=max_unfinished_jobs,
            output_formats=list(FORMATS),
        ),
        finds_people=animate and networks is not None and networks.has_people,
        cuts_out_people=animate and networks is not None and networks.has_outlines,
        sampling=wire.Sampling(
            steps=sampling.steps,
            solver=number_of(SOLVERS, sampling.solver),
            shift=sampling.shift,
            guidance=wire.Guidance(high=high, low=low),
        ),
    )


def _lora(entry: Any) -> wire.Lora:
    """Of what the manifest says of a LoRA file; a name is all of its path that is told."""
    experts = {expert.value: number for number, expert in EXPERTS.items()}
    return wire.Lora(
        expert=experts.get(str(entry.get("expert", "")), wire.EXPERT_UNSPECIFIED),
        name=str(entry.get("file", "")).replace("\\", "/").rsplit("/", 1)[-1],
        sha256=str(entry.get("sha256", "")),
        strength=float(entry.get("strength", 1.0)),
    )
