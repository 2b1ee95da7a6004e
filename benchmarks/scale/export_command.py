"""`wan-trt export` as a process that measures itself: `python -m scale.export_command RESULT
ARGUMENTS...`, where ARGUMENTS are those of the command. Leaves seconds by stage in RESULT."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scale.process import peak_nbytes
from wan_trt.cli.main import main as wan_trt
from wan_trt.export import bundle_writer
from wan_trt.export.progress import Progress

START = "start"


@dataclass(frozen=True)
class ExportTimes:
    """Seconds of wall time inside the process by stage (`start`: imports and arguments), seconds of
    all its threads, and the most memory that it ever held."""

    stages_s: dict[str, float]
    processor_s: float
    peak_nbytes: int

    @staticmethod
    def read(path: Path) -> ExportTimes:
        return ExportTimes(**json.loads(path.read_text()))


class StageClock:
    """Sums the seconds between one message of an export and the next by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stage, self._since = START, time.perf_counter()

    def tell(self, progress: Progress) -> None:
        """`progress` is what `export_bundle` tells."""
        self.stop()
        self._stage = progress.stage.value

    def stop(self) -> None:
        """Count what has passed to the stage that runs."""
        now = time.perf_counter()
        self.seconds[self._stage] += now - self._since
        self._since = now


def main() -> int:
    result, arguments = Path(sys.argv[1]), sys.argv[2:]
    clock = StageClock()
    export_bundle: Callable[..., Any] = bundle_writer.export_bundle

    def measured(
        checkpoint: Any,
        out: Any,
        options: Any = None,
        on_progress: Any = print,
        accept: Any = lambda _: None,
    ) -> Any:
        def tell_both(progress: Progress) -> None:
            clock.tell(progress)
            on_progress(progress)

        return export_bundle(checkpoint, out, options, tell_both, accept)

    bundle_writer.export_bundle = measured
    status = wan_trt(["export", *arguments])
    clock.stop()
    times = ExportTimes(dict(clock.seconds), time.process_time(), peak_nbytes())
    result.write_text(json.dumps(asdict(times)))
    return status


if __name__ == "__main__":
    sys.exit(main())
