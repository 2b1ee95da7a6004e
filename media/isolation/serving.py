"""The reader process: answers what is asked about the media of one job."""

from __future__ import annotations

import socket
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError, MediaLimitError, WanTrtError
from wan_trt.engine.frames import FrameSource
from wan_trt.media.isolation.confinement import allow_cpu
from wan_trt.media.isolation.messages import Message, error_to_message, receive, send
from wan_trt.media.isolation.sound import format_to_message
from wan_trt.media.reader import MediaReader, NoiseReader
from wan_trt.media.sound import SoundSource


def serve(connection: socket.socket, media: MediaReader, cpu_s: float) -> None:
    """Answer until the other side is gone. Each answer may take `cpu_s` of processor time."""
    session = _Session(connection, media)
    while True:
        try:
            request = receive(connection)
        except (EOFError, OSError):
            return
        allow_cpu(cpu_s)
        try:
            session.answer(request)
        except WanTrtError as error:
            send(connection, error_to_message(error))
        except MemoryError:
            send(connection, error_to_message(_too_much_memory(request)))
        except OSError:
            return  # nobody listens
        except Exception as error:
            send(connection, error_to_message(_bug(request, error)))


class _Session:
    def __init__(self, connection: socket.socket, media: MediaReader) -> None:
        self._connection = connection
        self._media = media
        self._sources: dict[int, FrameSource] = {}
        self._noises: dict[int, NoiseReader] = {}
        self._sounds: dict[int, SoundSource] = {}
        self._opened = 0

    def answer(self, request: Message) -> None:
        match request["ask"]:
            case "frames":
                self._open_frames(Path(request["path"]), request["field"])
            case "read":
                self._read(self._sources[request["source"]], request["start"], request["stop"])
            case "image":
                picture = self._media.image(Path(request["path"]), request["field"])
                self._send({"shape": picture.shape}, picture)
            case "noise":
                self._opened += 1
                self._noises[self._opened] = self._media.noise(
                    Path(request["path"]), request["field"]
                )
                send(self._connection, {"source": self._opened})
            case "segment":
                shape = tuple(request["shape"])
                noise = self._noises[request["source"]].segment(request["index"], shape)
                self._send({"shape": noise.shape}, noise)
            case "sound":
                duration = Fraction(*request["duration"])
                self._open_sound(Path(request["path"]), duration, request["field"])
            case "sound parts":
                parts = self._sounds[request["source"]].read()
                told = [(part.begin, part.duration, len(part.content)) for part in parts]
                content = b"".join(part.content for part in parts)
                send(self._connection, {"parts": told}, memoryview(content))
            case "close sound":
                self._sounds.pop(request["source"]).close()
                send(self._connection, {})

    def _open_frames(self, path: Path, field: str | None) -> None:
        source = self._media.frames(path, field)
        self._opened += 1
        self._sources[self._opened] = source
        rate = None if source.rate is None else Fraction(source.rate).as_integer_ratio()
        send(
            self._connection,
            {
                "source": self._opened,
                "count": source.count,
                "height": source.height,
                "width": source.width,
                "rate": rate,
            },
        )

    def _open_sound(self, path: Path, duration: Fraction, field: str | None) -> None:
        sound = self._media.sound(path, duration, field)
        if sound is None:
            send(self._connection, {"source": None})
            return
        self._opened += 1
        self._sounds[self._opened] = sound
        send(self._connection, {"source": self._opened, "format": format_to_message(sound.format)})

    def _read(self, source: FrameSource, start: int, stop: int) -> None:
        """Frame by frame: this side never holds more than one."""
        for number in range(start, stop):
            self._send({"frame": number}, source.read(number, number + 1))

    def _send(self, message: Message, values: NDArray[Any]) -> None:
        payload = np.ascontiguousarray(values).data.cast("B")
        send(self._connection, message, payload)


def _too_much_memory(request: Message) -> MediaLimitError:
    return MediaLimitError(
        f"{request.get('path', 'a file of the job')}: reading it takes too much memory",
        expected="media that can be read within the memory limit of a reader",
        action="scale or encode it anew, or have the limit raised",
        field=request.get("field"),
    )


def _bug(request: Message, error: Exception) -> MediaError:
    text = (str(error).splitlines() or [""])[0]
    return MediaError(
        f"{request.get('path', 'a file of the job')}: it cannot be read "
        f"({type(error).__name__}: {text[:200]})",
        expected="a media file that FFmpeg, Pillow or safetensors reads",
        action="encode it anew",
        field=request.get("field"),
    )
