"""What the server makes videos with, as it tells clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import IMAGE_TO_VIDEO_SAMPLING, Sampling
from wan_trt.engine.validation import MAX_STEPS
from wan_trt.preprocess.networks.folder import NetworkFolder
from wan_trt.server.bundles.registry import BundleEntry
from wan_trt.server.bundles.state import BundleState
from wan_trt.server.messages import EXPERTS, FORMATS
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.status import error_to_wire
from wan_trt.server.submission_messages import SOLVERS
from wan_trt.server.wire_values import number_of

_MODELS: dict[wire.Model, ModelName] = {
    wire.MODEL_ANIMATE: ModelName.ANIMATE,
    wire.MODEL_IMAGE_TO_VIDEO: ModelName.IMAGE_TO_VIDEO,
}
_STATES: dict[wire.BundleState, BundleState] = {
    wire.BUNDLE_STATE_LOADING: BundleState.LOADING,
    wire.BUNDLE_STATE_SERVING: BundleState.SERVING,
    wire.BUNDLE_STATE_DRAINING: BundleState.DRAINING,
    wire.BUNDLE_STATE_BROKEN: BundleState.BROKEN,
}


@dataclass(frozen=True)
class Offer:
    """What a server has for all of its bundles."""

    networks: NetworkFolder | None
    max_upload_nbytes: int
    max_unfinished_jobs: int


def entry_to_wire(
    entry: BundleEntry, state: BundleState, unfinished_jobs: int, offer: Offer
) -> wire.Bundle:
    """`state` is what clients are told: none serves where the server is stopping."""
    served, error = entry.served, entry.error
    told = wire.Bundle() if served is None else _described(served.engine.bundle, offer)
    told.MergeFrom(
        wire.Bundle(
            name=entry.name,
            digest=entry.digest,
            state=number_of(_STATES, state),
            unfinished_jobs=unfinished_jobs,
            error=None if error is None else error_to_wire(error),
        )
    )
    return told


def _described(bundle: Bundle, offer: Offer) -> wire.Bundle:
    networks, manifest = offer.networks, bundle.manifest
    animate = manifest.model is ModelName.ANIMATE
    sampling = Sampling() if animate else IMAGE_TO_VIDEO_SAMPLING
    high, low = sampling.guidance
    return wire.Bundle(
        model=number_of(_MODELS, manifest.model),
        precision=manifest.precision,
        loras=[_lora(entry) for entry in manifest.provenance.loras],
        limits=wire.Limits(
            size_multiple=manifest.geometry.pixel_multiple,
            max_steps=MAX_STEPS,
            max_upload_nbytes=offer.max_upload_nbytes,
            max_unfinished_jobs=offer.max_unfinished_jobs,
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
