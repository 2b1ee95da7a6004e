"""What the tests of jobs that survive share: a server's inside without its port, and its media."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from wan_trt.engine import Bundle, Engine, JobState
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.executors import Load
from wan_trt.server.bundles.registry import BundleEntry, BundleRegistry
from wan_trt.server.bundles.state import BundleState
from wan_trt.server.job_record import JobRecord
from wan_trt.server.jobs import JobOptions, Jobs
from wan_trt.server.media_options import MediaOptions
from wan_trt.server.principal import EVERYBODY, Principal
from wan_trt.server.store.data_folder import DataFolder
from wan_trt.server.store.room import Room
from wan_trt.server.submission import OutputFormat, Submission
from wan_trt.server.submission_messages import submission_from_wire, submission_to_wire
from wan_trt.server.uploads import Announced, Uploads

SIZE = (16, 32)


def write_media(folder: Path, frames: int) -> dict[str, Path]:
    """Random media of a toy job, by field."""
    generator = np.random.default_rng(frames)
    shapes = {"reference": (1, 20, 30, 3), "pose": (frames, *SIZE, 3), "face": (frames, 8, 8, 3)}
    paths = {}
    for name, shape in shapes.items():
        paths[name] = folder / f"{name}.{frames}.safetensors"
        save_file({"frames": generator.integers(0, 256, shape, dtype=np.uint8)}, paths[name])
    return paths


class Life:
    """One process of a server, as far as jobs are concerned; its engine is stepped by hand."""

    def __init__(
        self,
        bundle: Bundle,
        folder: Path,
        options: JobOptions | None = None,
        load: Load | None = None,
        room: Room | None = None,
    ) -> None:
        self.data = DataFolder(folder)
        self.uploads = Uploads(self.data.uploads, 1 << 20)
        self.engine = Engine(bundle, threads=1, load=load)
        self.room = room or Room(folder, reserve_nbytes=0, retry_s=0.0)
        bundles = BundleRegistry()
        self.jobs = Jobs(
            bundles,
            self.data,
            self.uploads,
            self.room,
            # Of a life that is only broken off, a process for media would be left.
            replace(options or JobOptions(checkpoint_steps=1), media=MediaOptions(isolated=False)),
        )
        entry = BundleEntry(bundle.path.name, bundle.path, BundleState.LOADING)
        bundles.restore(entry)
        bundles.serve(entry, self.jobs.at_work(self.engine, _crashed))
        self.jobs.recover()

    def upload(self, path: Path, owner: str = "") -> str:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        return self.uploads.receive(Announced(path.name, len(content), digest), [content], owner)

    def submit(
        self,
        media: dict[str, Path],
        steps: int = 2,
        output_format: OutputFormat = OutputFormat.FLOAT32,
        key: str = "",
        seed: int = 3,
        timeout_s: float | None = None,
        caller: Principal = EVERYBODY,
    ) -> JobRecord:
        choices = RequestChoices(seed=seed, segment_frames=5, sampling=SamplingChoices(steps=steps))
        uploads: dict[str, Any] = {
            name: self.upload(path, caller.name) for name, path in media.items()
        }
        submission = Submission(
            **uploads,
            choices=choices,
            output_format=output_format,
            idempotency_key=key,
            timeout_s=timeout_s,
        )
        request = submission_to_wire(submission)
        content = request.SerializeToString(deterministic=True)
        return self.jobs.submit(submission_from_wire(request), content, caller)

    def run(self) -> None:
        """Step until nothing is left to do."""
        while self.engine.step():
            pass

    def results(self) -> dict[str, bytes]:
        """What each job came to, by its idempotency key."""
        found = {}
        for stored in self.data.store.jobs():
            record = self.jobs.get(stored.job_id, EVERYBODY)
            assert record.latest.state is JobState.DONE, record.latest
            found[stored.idempotency_key] = record.result().read_bytes()
        return found

    def stop(self) -> None:
        """As a server does on SIGTERM."""
        self.engine.suspend()
        self.data.close()


def _crashed(error: Exception) -> None:
    raise error


def events_of(life: Life, record: JobRecord) -> list[tuple[str, str, int, int, int]]:
    return [
        (e.state.value, e.stage, e.segment, e.step, e.frames)
        for e in life.data.store.events(record.job_id)
    ]


def other_bundle(bundle: Bundle) -> Bundle:
    """The same files under another manifest."""
    provenance = replace(bundle.manifest.provenance, tool="another")
    return Bundle(bundle.path, replace(bundle.manifest, provenance=provenance))
