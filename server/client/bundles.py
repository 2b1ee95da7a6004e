"""What a server makes videos with, as a client sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import EnumValueDescriptor

from wan_trt.engine.errors import WanTrtError
from wan_trt.engine.request import ExpertName, Sampling
from wan_trt.server.messages import EXPERTS, FORMATS
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.status import error_from_wire
from wan_trt.server.submission import OutputFormat
from wan_trt.server.submission_messages import SOLVERS


@dataclass(frozen=True)
class FoldedLora:
    """`expert` None: both."""

    name: str
    sha256: str
    strength: float
    expert: ExpertName | None


@dataclass(frozen=True)
class BundleInfo:
    """`name` is what `Submission.bundle` takes. `model` is "animate" or "image_to_video", `state`
    "loading", "serving", "draining" or "broken", `error` why it is the last. `finds_people`: a
    driving video may come without key points; `cuts_out_people`: in replace mode without a matte.
    `sampling` are the defaults; while a bundle is loading, or broken, they and the limits say
    nothing.
    """

    name: str
    digest: str
    model: str
    precision: str
    state: str
    loras: tuple[FoldedLora, ...]
    size_multiple: int
    max_steps: int
    max_upload_nbytes: int
    max_unfinished_jobs: int
    output_formats: tuple[OutputFormat, ...]
    finds_people: bool
    cuts_out_people: bool
    sampling: Sampling
    unfinished_jobs: int
    error: WanTrtError | None


def bundle_from_wire(message: wire.Bundle) -> BundleInfo:
    """What a later version says is left out, or called "unspecified"."""
    limits, sampling = message.limits, message.sampling
    return BundleInfo(
        name=message.name,
        digest=message.digest,
        model=_word(wire.Model.DESCRIPTOR.values_by_number, message.model, "MODEL_"),
        precision=message.precision,
        state=_word(wire.BundleState.DESCRIPTOR.values_by_number, message.state, "BUNDLE_STATE_"),
        loras=tuple(
            FoldedLora(lora.name, lora.sha256, lora.strength, EXPERTS.get(lora.expert))
            for lora in message.loras
        ),
        size_multiple=limits.size_multiple,
        max_steps=limits.max_steps,
        max_upload_nbytes=limits.max_upload_nbytes,
        max_unfinished_jobs=limits.max_unfinished_jobs,
        output_formats=tuple(
            FORMATS[number] for number in limits.output_formats if number in FORMATS
        ),
        finds_people=message.finds_people,
        cuts_out_people=message.cuts_out_people,
        sampling=Sampling(
            steps=sampling.steps,
            solver=SOLVERS.get(sampling.solver, Sampling.solver),
            shift=sampling.shift,
            guidance=(sampling.guidance.high, sampling.guidance.low),
        ),
        unfinished_jobs=message.unfinished_jobs,
        error=error_from_wire(message.error) if message.HasField("error") else None,
    )


def _word(names: Mapping[int, EnumValueDescriptor], number: int, prefix: str) -> str:
    return names[number if number in names else 0].name.removeprefix(prefix).lower()
