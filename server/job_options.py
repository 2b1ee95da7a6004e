"""How a server keeps and runs its jobs."""

from __future__ import annotations

from dataclasses import dataclass, field

from wan_trt.preprocess.networks.folder import NetworkFolder
from wan_trt.server.media_options import MediaOptions
from wan_trt.server.retention import Retention


@dataclass(frozen=True)
class JobOptions:
    """At most `max_unfinished` jobs wait or run. A checkpoint is kept each `checkpoint_steps`
    denoising steps, with 0 only where a segment ends. A job ends when `attempts` processes in a row
    have died at work on it, without a checkpoint in between. Results are encoded while the engine
    goes on, with `encode_beside`, or by the engine's own thread. `networks` find people in driving
    videos; without them clients send key points. `media`: how files are read."""

    max_unfinished: int = 100
    networks: NetworkFolder | None = None
    checkpoint_steps: int = 4
    attempts: int = 3
    encode_beside: bool = True
    media: MediaOptions = field(default_factory=MediaOptions)
    retention: Retention = field(default_factory=Retention)
