"""Who reads the media of a job, and how much of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from wan_trt.media import LocalMedia, MediaLimits, MediaReader
from wan_trt.media.isolation import FORK_SERVER, IsolatedMedia, ProcessLimits


@dataclass(frozen=True)
class MediaOptions:
    """`isolated`: each job has a process for its media, within `process`. Whoever trusts all who
    submit may do without."""

    limits: MediaLimits = field(default_factory=MediaLimits)
    process: ProcessLimits = field(default_factory=ProcessLimits)
    isolated: bool = True

    def prepare(self) -> None:
        """Let begin what the first job would otherwise wait for."""
        if self.isolated:
            FORK_SERVER.warm()

    def reader(self) -> MediaReader:
        """The reader of one job."""
        if self.isolated:
            return IsolatedMedia(self.limits, self.process)
        return LocalMedia(self.limits)
