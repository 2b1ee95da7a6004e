"""Clients of a server, for threads and for asyncio.

    with Client("127.0.0.1:50051") as client:
        job_id = client.submit(
            Submission(
                reference=client.upload("hero.png"),
                pose=client.upload("pose.mp4"),
                face=client.upload("face.mp4"),
            )
        )
        for event in client.watch(job_id):
            print(event.state, event.step, event.steps)
        client.fetch(job_id, "hero.mp4")

More in docs/client.md.
"""

from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.request import Event, JobState
from wan_trt.preprocess.driver import DriverChoices
from wan_trt.server.client.async_client import AsyncClient
from wan_trt.server.client.bundles import BundleInfo, FoldedLora
from wan_trt.server.client.connection import ClientTls
from wan_trt.server.client.news import JobPage, JobQuery, Preview, PreviewChoice, PreviewEvent
from wan_trt.server.client.retries import Retries
from wan_trt.server.client.sync_client import Client
from wan_trt.server.submission import JobStatus, OutputFormat, Submission

__all__ = [
    "AsyncClient",
    "BundleInfo",
    "Client",
    "ClientTls",
    "DriverChoices",
    "Event",
    "FoldedLora",
    "JobPage",
    "JobQuery",
    "JobState",
    "JobStatus",
    "OutputFormat",
    "Preview",
    "PreviewChoice",
    "PreviewEvent",
    "RequestChoices",
    "Retries",
    "SamplingChoices",
    "Submission",
]
