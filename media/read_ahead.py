"""Frames are decoded while whoever reads them works on those before."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError, WanTrtError
from wan_trt.engine.frames import FrameSource
from wan_trt.media.frame_range import check_range

AHEAD_NBYTES = 64 << 20
_PIECES = 4
_AHEAD = 2
_PIECE_FRAMES = 4


class ReadAhead:
    """A FrameSource around another one, with a thread that decodes the next frames.

        pieces of 4 frames   ... [ before ] [ read now ] [ next ] [ next ]

    It holds four pieces, at most `nbytes` or four frames: two that come next in the direction of
    reading, which is backwards where a driver is played back and forth; one that a segment's
    overlap may go back to. Further than that nothing is decoded before it is wanted, and nothing
    at all before the first read or after the end of the source was read.
    """

    def __init__(self, source: FrameSource, nbytes: int = AHEAD_NBYTES) -> None:
        self.count, self.rate = source.count, source.rate
        self.height, self.width = source.height, source.width
        fitting = nbytes // (_PIECES * self.height * self.width * 3)
        self._piece_frames = max(1, min(_PIECE_FRAMES, fitting))
        self._source = source
        self._pieces: OrderedDict[int, Future[list[NDArray[np.uint8]]]] = OrderedDict()
        self._last = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: ThreadPoolExecutor | None = None

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """See FrameSource: the errors, too, are those of this very range."""
        check_range(start, stop, self.count)
        frames = np.empty((stop - start, self.height, self.width, 3), np.uint8)
        with self._lock:
            at = start
            while at < stop:
                piece = at // self._piece_frames
                first = piece * self._piece_frames
                for frame in self._piece(piece)[at - first : stop - first]:
                    frames[at - start] = frame
                    at += 1
                if at < min(stop, first + self._piece_frames):  # something is wrong with the next
                    end = min(stop, first + self._piece_frames)
                    frames[at - start : end - start] = self._run(at, end).result()
                    at = end
            if stop == self.count:
                self._forget()
        return frames

    def close(self) -> None:
        """Stop decoding after the frame that is being decoded, and close the source; idempotent."""
        self._stopped.set()
        with self._lock:
            self._forget()
            if self._thread is not None:
                self._thread.shutdown()
            self._source.close()

    def _piece(self, piece: int) -> list[NDArray[np.uint8]]:
        """The frames of a piece, up to the first that cannot be decoded; those that come after it
        are asked for."""
        step = -1 if piece < self._last else 1
        self._last = piece
        pieces = -(-self.count // self._piece_frames)
        wanted = [piece + step * far for far in range(_AHEAD + 1)]
        wanted = [number for number in wanted if 0 <= number < pieces]
        for number, waiting in self._pieces.items():
            if number not in wanted:
                waiting.cancel()  # after a jump, what nobody has begun
        for number in wanted:
            if number not in self._pieces or self._pieces[number].cancelled():
                self._pieces[number] = self._decoded(number)
        for number in reversed(wanted):
            self._pieces.move_to_end(number)
        while len(self._pieces) > _PIECES:
            self._pieces.popitem(last=False)
        return self._pieces[piece].result()

    def _decoded(self, piece: int) -> Future[list[NDArray[np.uint8]]]:
        return self._executor().submit(self._decode, piece)

    def _decode(self, piece: int) -> list[NDArray[np.uint8]]:
        start = piece * self._piece_frames
        frames: list[NDArray[np.uint8]] = []
        for number in range(start, min(start + self._piece_frames, self.count)):
            if self._stopped.is_set():
                break
            try:
                frames.append(self._source.read(number, number + 1)[0])
            except WanTrtError:
                break  # whoever reads that frame meets the error
        return frames

    def _run(self, start: int, stop: int) -> Future[NDArray[np.uint8]]:
        """A range as it is, in the thread that has the source."""
        return self._executor().submit(self._source.read, start, stop)

    def _executor(self) -> ThreadPoolExecutor:
        if self._stopped.is_set():
            raise MediaError("the frames were closed while they were read")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="frames")
        return self._thread

    def _forget(self) -> None:
        for waiting in self._pieces.values():
            waiting.cancel()
        self._pieces.clear()
        self._last = 0
