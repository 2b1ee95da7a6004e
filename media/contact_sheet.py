"""Strips of thumbnails under each other, for looking at videos at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wan_trt.media.partial_output import whole_file

_GAP = 4
_LABEL_HEIGHT = 20
_BACKGROUND = (24, 24, 24)
_INK = (235, 235, 235)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]],
    path: Path | str,
    *,
    thumbnail_height: int = 160,
) -> None:
    """Write a PNG with one row per (label, pictures): the label above a strip of thumbnails.

    Pictures are uint8 [h, w, 3] of any size; each is scaled to `thumbnail_height` pixels. Raises
    MediaError when the file cannot be written.
    """
    strips = [[_thumbnail(p, thumbnail_height) for p in pictures] for _, pictures in rows]
    row_height = _LABEL_HEIGHT + thumbnail_height + _GAP
    width = max((sum(t.width + _GAP for t in strip) for strip in strips), default=0)
    font = ImageFont.load_default(size=14)
    labels_width = max((int(font.getlength(label)) for label, _ in rows), default=0)
    sheet = Image.new(
        "RGB", (_GAP + max(width, labels_width + _GAP), _GAP + row_height * len(rows)), _BACKGROUND
    )
    draw = ImageDraw.Draw(sheet)
    for number, ((label, _), strip) in enumerate(zip(rows, strips, strict=True)):
        top, left = _GAP + number * row_height, _GAP
        draw.text((left, top), label, fill=_INK, font=font)
        for thumbnail in strip:
            sheet.paste(thumbnail, (left, top + _LABEL_HEIGHT))
            left += thumbnail.width + _GAP
    with whole_file(Path(path)) as partial:
        sheet.save(partial, format="PNG")


def _thumbnail(picture: NDArray[np.uint8], height: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))
    width = max(1, round(image.width * height / image.height))
    return image.resize((width, height), Image.Resampling.LANCZOS)
