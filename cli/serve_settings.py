"""The settings of `wan-trt serve`: each one's flag, variable, key and help follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wan_trt.cli.device_options import DEVICE_HELP, THREADS_HELP
from wan_trt.cli.settings.declaration import setting
from wan_trt.server.address import DEFAULT_ADDRESS, Address

VARIABLES = "WAN_TRT_SERVE_"
"""What the names of variables begin with: WAN_TRT_SERVE_LISTEN is --listen."""


@dataclass(frozen=True)
class ModelSettings:
    """What is served, and what by."""

    bundle: Path = setting(..., "the folder that `wan-trt export` made", "BUNDLE", positional=True)
    device: Literal["cpu", "cuda"] = setting("cpu", DEVICE_HELP)
    threads: int | None = setting(None, THREADS_HELP, "N")
    bundle_root: tuple[Path, ...] = setting(
        (),
        "let admins add bundles that lie below this folder, drain and remove them while the "
        "server runs (`wan-trt bundles`); may be repeated, not with --device cuda (default: none)",
        "DIR",
    )
    models: Path | None = setting(
        None,
        "a Wan2.2-Animate checkpoint, or its process_checkpoint: the networks that find people "
        "in driving videos (default: clients send key points)",
        "DIR",
    )


@dataclass(frozen=True)
class ListeningSettings:
    """Where it is reached."""

    listen: Address = setting(
        Address.parse(DEFAULT_ADDRESS, "listen"),
        "where to take connections; port 0 is any free one",
        "HOST:PORT",
        read=Address.parse,
    )
    max_streams: int = setting(
        384,
        "uploads, watchers, fetches and submissions at one time, each of which holds a thread; "
        "Cancel and other short calls have places of their own",
        "N",
        at_least=1,
    )
    grace: float = setting(
        10.0, "how long jobs may go on after a signal to stop", "SECONDS", at_least=0
    )


@dataclass(frozen=True)
class WatchingSettings:
    """What its operators see of it."""

    metrics_listen: Address | None = setting(
        None,
        "tell /metrics (Prometheus), /healthz and /readyz there, by HTTP, to whoever reaches it "
        "(default: nowhere)",
        "HOST:PORT",
        read=Address.parse,
    )
    log_format: Literal["text", "json"] = setting("text", "how lines of the log on stderr look")
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "the least important lines that are shown"
    )
    traces: str | None = setting(
        None,
        "send OpenTelemetry spans to the collector there, by OTLP over HTTP; needs the extra "
        "`telemetry` (default: none are made)",
        "URL",
    )


@dataclass(frozen=True)
class StorageSettings:
    """What is kept, and for how long."""

    data: Path | None = setting(
        None,
        "keep uploads, jobs and results there, for this server and those after it "
        "(default: a temporary folder, removed at the end)",
        "DIR",
    )
    checkpoint_steps: int = setting(
        4,
        "keep the state of a job each N denoising steps, with 0 only where a segment ends",
        "N",
        at_least=0,
    )
    attempts: int = setting(
        3,
        "end a job when the server died N times in a row at work on it, without keeping its "
        "state in between",
        "N",
        at_least=1,
    )
    keep_days: float = setting(
        7.0,
        "how long results that were fetched, jobs without one, and uploads are kept; a result "
        "that nobody has fetched stays",
        "DAYS",
        at_least=0,
    )
    keep_gigabytes: float | None = setting(
        None,
        "remove results that were fetched earlier, the oldest first, where all of them have "
        "more bytes (default: no limit)",
        "N",
        at_least=0,
    )
    reserve_gigabytes: float = setting(
        1.0, "jobs pause when less than this is free on the disk of --data", "N", at_least=0
    )


@dataclass(frozen=True)
class MediaSettings:
    """What the media of a job may hold, and take to read."""

    max_frames: int = setting(18_000, "of one video or sequence", "N", at_least=1)
    max_duration: float = setting(1_200.0, "how long one video may last", "SECONDS", at_least=0)
    max_frame_pixels: int = setting(
        4096 * 2304, "width times height of a video's frame", "PIXELS", at_least=1
    )
    max_picture_pixels: int = setting(
        64_000_000, "width times height of a picture", "PIXELS", at_least=1
    )
    reader_gigabytes: float = setting(
        4.0, "memory of the process that reads a job's media", "N", at_least=0.25
    )
    reader_seconds: float = setting(
        60.0, "how long that process may take for one frame", "SECONDS", at_least=1
    )


@dataclass(frozen=True)
class SchedulingSettings:
    """Whose turn it is."""

    policy: Literal["deadline", "shortest", "fair", "fifo"] = setting(
        "deadline",
        "whose step is next: deadline (who can be on time, the earliest first), shortest (the "
        "least work left), fair (turns by owner) or fifo (first come, first served); with all but "
        "the last a job takes at most 3 times as long as with it",
    )
    max_unfinished: int = setting(
        100,
        "jobs that wait or run at one time; each has a process that reads its media",
        "N",
        at_least=1,
    )
    admit_late: bool = setting(
        False,
        "take jobs also where their --timeout cannot be kept as things stand, and end them "
        "when it is over; else they are refused at once, and told when they could be done",
    )


@dataclass(frozen=True)
class SecuritySettings:
    """Who may call, and how connections are kept; files are read again when they change."""

    tls_cert: Path | None = setting(
        None,
        "encrypt connections with this certificate and those that vouch for it (PEM)",
        "FILE",
    )
    tls_key: Path | None = setting(None, "the private key of --tls-cert (PEM)", "FILE")
    tls_client_ca: Path | None = setting(
        None,
        "take only connections with a certificate of these authorities (PEM); its name says who "
        "calls",
        "FILE",
    )
    access: Path | None = setting(
        None,
        "who may call: principals with their tokens, rights and quotas (TOML); `wan-trt token` "
        "makes entries",
        "FILE",
    )
    input_root: tuple[Path, ...] = setting(
        (),
        "let callers name files in this folder, as file:/DIR/NAME, instead of uploading them; may "
        "be repeated (default: none)",
        "DIR",
    )
    open_reflection: bool = setting(False, "describe the API also to callers who are not let in")
    insecure_listen: bool = setting(
        False,
        "listen beyond this machine also without TLS, or without knowing who calls: everybody who "
        "reaches the port may then read and do everything",
    )


@dataclass(frozen=True)
class ServeSettings:
    """All of them."""

    model: ModelSettings
    listening: ListeningSettings
    security: SecuritySettings
    watching: WatchingSettings
    storage: StorageSettings
    media: MediaSettings
    scheduling: SchedulingSettings
