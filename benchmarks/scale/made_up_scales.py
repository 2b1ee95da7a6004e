"""Ranges for an FP8 export of a case: `python -m scale.made_up_scales FOLDER RUN`. They are random:
what an export takes and writes does not depend on them."""

from __future__ import annotations

import sys
from pathlib import Path

from scale.prepare import CHECKPOINT
from scale.runs import SCALES, run_loras
from wan_trt.export.lora.spec import LoraSpec, LoraStacks
from wan_trt.export.synthetic.scales import synthetic_scales


def main() -> None:
    folder, name = Path(sys.argv[1]), sys.argv[2]
    specs = {expert: (LoraSpec.parse(text),) for expert, text in run_loras(folder, name).items()}
    stacks = LoraStacks(**{expert.value: spec for expert, spec in specs.items()})
    synthetic_scales(folder / CHECKPOINT, stacks).write(folder / SCALES)


if __name__ == "__main__":
    main()
