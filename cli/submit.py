"""Have a server make a video: send it the files and print the job's id.

With --wait, show progress until the video is done; with --out, also fetch it then. The job does
not depend on this command: `wan-trt watch`, `cancel` and `fetch` take its id at any time. A file
that the server has already is not sent again, one that was cut off goes on where it was. Which
options are needed, the model of the server decides, as with `wan-trt generate`. `file:/FOLDER/NAME`
names a file of the server's machine, where its operator allows that, instead of one to send.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan_trt.cli.byte_progress import ByteProgress
from wan_trt.cli.driver_options import (
    add_preparation_arguments,
    driver_choices,
    refuse_without_video,
)
from wan_trt.cli.job_news import add_news_arguments, news_teller, print_json
from wan_trt.cli.labels import add_label_argument, labels_from
from wan_trt.cli.request_options import add_request_arguments, choices_from
from wan_trt.cli.result_files import OUT_HELP, fetch_result, format_of, require_format
from wan_trt.cli.server_options import add_server_argument, connected
from wan_trt.cli.watch import add_preview_argument, event_teller, preview_choice
from wan_trt.server.input_roots import SCHEME
from wan_trt.server.submission import MEDIA_FIELDS, OutputFormat, Submission

if TYPE_CHECKING:
    from wan_trt.server.client import Client

SUMMARY = "have a server make a video"
EXAMPLES = (
    "wan-trt submit --reference hero.png --video dance.mp4 --out hero.mp4",
    """\
wan-trt submit --server 10.0.0.5:50051 --reference beach.png --prompt "the tide comes in" \\
    --idempotency-key "shot 12, take 3" --title "the beach" --label show=dune --priority 2""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_server_argument(parser)
    add_request_arguments(parser)
    driver = parser.add_argument_group("for Animate, from a driving video")
    driver.add_argument(
        "--video",
        metavar="VIDEO",
        type=Path,
        help="a driving video, which the server prepares, instead of --pose, --face, --background "
        "and --mask; --area and --frames are then about the result, too",
    )
    add_preparation_arguments(driver)
    parser.add_argument(
        "--format",
        dest="output_format",
        choices=[kind.value for kind in OutputFormat],
        help="of the result: a video, .safetensors with float32 or uint8 frames, a .zip of png "
        "pictures, or raw uint8 numbers in an .rgb (default: by the name of OUT, else mp4)",
    )
    _add_job_arguments(parser.add_argument_group("what the job is"))
    parser.add_argument("--wait", action="store_true", help="show progress until the job is over")
    parser.add_argument(
        "--out",
        metavar="OUT",
        type=Path,
        help=f"wait, then fetch the result into this: {OUT_HELP}",
    )
    add_news_arguments(parser)
    add_preview_argument(parser)


def _add_job_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--bundle",
        metavar="NAME",
        default="",
        help="which of the server's to use, see `wan-trt bundles` (default: the server's choice)",
    )
    group.add_argument(
        "--priority",
        metavar="X",
        type=float,
        default=1.0,
        help="weight among other jobs, more than 0 (default: %(default)g)",
    )
    group.add_argument("--title", metavar="TEXT", default="", help="what lists call the job")
    add_label_argument(group, "something to find it by in lists; several may be given")
    group.add_argument(
        "--idempotency-key",
        metavar="KEY",
        default="",
        help="a name for this wish: submitting it again under the same name makes no second job",
    )
    group.add_argument(
        "--timeout",
        dest="timeout_s",
        metavar="SECONDS",
        type=float,
        help="have the server end the job if it is not done so long after now (default: never)",
    )


def run(arguments: argparse.Namespace) -> int:
    choices = choices_from(arguments)
    if arguments.video is None:
        refuse_without_video(arguments)
    output_format = _output_format(arguments)
    if arguments.out:
        _require_place(arguments)
    labels = labels_from(arguments)
    previews = preview_choice(arguments)
    with connected(arguments) as client:
        uploads: dict[str, Any] = {
            field: _sent(client, getattr(arguments, field), field)
            for field in MEDIA_FIELDS
            if getattr(arguments, field) is not None
        }
        job_id = client.submit(
            Submission(
                **uploads,
                choices=choices,
                preparation=driver_choices(arguments),
                output_format=output_format,
                idempotency_key=arguments.idempotency_key,
                timeout_s=arguments.timeout_s,
                bundle=arguments.bundle,
                priority=arguments.priority,
                title=arguments.title,
                labels=labels,
            )
        )
        if arguments.json:
            print_json({"job_id": job_id})
        else:
            print(job_id, flush=True)
        if not (arguments.wait or arguments.out):
            return 0
        tell = event_teller(arguments, news_teller(arguments, sys.stderr))
        try:
            client.wait(job_id, tell, previews=previews)
        except KeyboardInterrupt:
            print(f"\njob {job_id} goes on; `wan-trt cancel` stops it", file=sys.stderr)
            raise
        if arguments.out:
            fetch_result(client, job_id, arguments.out)
    return 0


def _sent(client: Client, path: Path, field: str) -> str:
    """The upload id of a file; a file of the server's machine goes by its name."""
    if str(path).startswith(SCHEME):
        return str(path)
    bar = ByteProgress(sys.stderr)
    return client.upload(
        path, field=field, on_progress=lambda done, total: bar.show(done, total, field)
    )


def _require_place(arguments: argparse.Namespace) -> None:
    """Before anything is sent: the result of a long job must find a place."""
    from wan_trt.media.overwriting import require_no_input
    from wan_trt.media.partial_output import try_place

    spelled = arguments.parser.spelled
    require_no_input(
        arguments.out, {spelled(name): getattr(arguments, name) for name in MEDIA_FIELDS}
    )
    try_place(arguments.out)


def _output_format(arguments: argparse.Namespace) -> OutputFormat:
    """What was asked for. Raises InputError when --format and --out do not fit together."""
    if not arguments.output_format:
        return format_of(arguments.out) if arguments.out else OutputFormat.MP4
    asked = OutputFormat(arguments.output_format)
    if arguments.out:
        require_format(arguments.out, asked)
    return asked
