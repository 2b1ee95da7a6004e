"""A video in one call: the job ends with it, however it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from wan_trt.engine.errors import DeadlineError, WanTrtError
from wan_trt.engine.request import Event
from wan_trt.media.partial_output import require_place
from wan_trt.server.client import transfers
from wan_trt.server.client.effects import Do, Open, Operation, Receive
from wan_trt.server.client.news import news_from_wire
from wan_trt.server.client.partial_download import PartialDownload
from wan_trt.server.client.retries import Outage
from wan_trt.server.errors import UnavailableError
from wan_trt.server.proto import wan_trt_v1_pb2 as wire


def generate(
    request: wire.GenerateRequest,
    timeout_s: float | None,
    out: Path,
    hear: Callable[[Event], None],
    make_outage: Callable[[], Outage],
) -> Operation[None]:
    """It is tried again until the job has begun; from then on it would be another one."""
    yield Do(lambda: require_place(out))
    job_id = yield from _begun(request, timeout_s, make_outage())
    final = False
    partial: PartialDownload = yield Do(lambda: PartialDownload(out, job_id))
    try:
        while (message := (yield Receive())) is not None:
            if message.HasField("event"):
                event = news_from_wire(message.event)
                final = event.state.final
                hear(event)
            else:
                partial.take(message.content.offset, message.content.chunk)
                if partial.there_nbytes == message.content.nbytes:
                    yield Do(partial.commit)
                    return
    except UnavailableError as error:
        if not final:
            raise _ended(job_id, timeout_s, error) from error
    finally:
        partial.close()
    result = wire.FetchRequest(job_id=job_id)  # goes on behind what came
    yield from transfers.fetch(result, out, None, make_outage)


def _begun(
    request: wire.GenerateRequest, timeout_s: float | None, outage: Outage
) -> Operation[str]:
    while True:
        try:
            yield Open("Generate", request, timeout_s)
            return str((yield Receive()).job.job_id)
        except UnavailableError as error:
            yield outage.pause(error)


def _ended(job_id: str, timeout_s: float | None, error: UnavailableError) -> WanTrtError:
    """Why a job did not get to its end, which the server could not tell."""
    if timeout_s is not None and error.retry_after_s == math.inf:
        return DeadlineError(f"job {job_id} was not done within {timeout_s:g} s")
    return UnavailableError(
        f"job {job_id} ended with its call ({error})",
        expected="a connection that lasts as long as the job",
        action="generate it again, or submit it: a job of its own outlives connections",
    )
