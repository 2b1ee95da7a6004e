"""Where results of a server go: which format a name asks for, and fetching into it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.cli.byte_progress import ByteProgress
from wan_trt.engine.errors import InputError
from wan_trt.media.image_pattern import is_pattern
from wan_trt.server.submission import OutputFormat

if TYPE_CHECKING:
    from wan_trt.server.client import Client

OUT_HELP = ".mp4, .safetensors, .zip, .rgb, or an image sequence such as frames/%%04d.png"


def format_of(out: Path) -> OutputFormat:
    """What a name asks for. Raises InputError."""
    if is_pattern(out) and out.suffix.lower() == ".png":
        return OutputFormat.PNG
    return OutputFormat.for_path(out, "out")


def require_format(out: Path, made: OutputFormat) -> None:
    """Raises InputError for a name that is not one of results in that format."""
    pictures = made is OutputFormat.PNG and is_pattern(out)
    if out.suffix.lower() != (".png" if pictures else made.suffix):
        raise InputError(
            f"{out} for a result in the format {made.value}",
            expected=f"a name that ends in {made.suffix}",
            action="choose such a name, or another format",
            field="out",
        )


def fetch_result(client: Client, job_id: str, out: Path, *, follow: bool = False) -> None:
    """Fetch with a bar; an image sequence comes as an archive, which is unpacked."""
    show = ByteProgress(sys.stderr).show
    if not is_pattern(out):
        client.fetch(job_id, out, on_progress=show, follow=follow)
        return
    from wan_trt.media.image_archive import unpack_pictures

    archive = out.with_name(f"{job_id}.zip")
    client.fetch(job_id, archive, on_progress=show, follow=follow)
    unpack_pictures(archive, out)
    archive.unlink()
