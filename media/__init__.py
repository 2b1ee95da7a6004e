"""Media files: pictures, videos, image sequences and tensors in, videos and tensors out."""

from wan_trt.media.contact_sheet import contact_sheet
from wan_trt.media.limits import GENEROUS, MediaLimits
from wan_trt.media.noise import FileNoise, open_noise
from wan_trt.media.pixels import to_pixels
from wan_trt.media.reader import LocalMedia, MediaReader, SoundFile
from wan_trt.media.request_files import RequestFiles, open_request
from wan_trt.media.sinks import DEFAULT_RATE, PixelWriter, open_pixel_writer, open_sink
from wan_trt.media.sources import open_frames, read_image

__all__ = [
    "DEFAULT_RATE",
    "GENEROUS",
    "FileNoise",
    "LocalMedia",
    "MediaLimits",
    "MediaReader",
    "PixelWriter",
    "RequestFiles",
    "SoundFile",
    "contact_sheet",
    "open_frames",
    "open_noise",
    "open_pixel_writer",
    "open_request",
    "open_sink",
    "read_image",
    "to_pixels",
]
