from __future__ import annotations

import pytest

from wan_trt.preprocess.gaps import stand_ins


@pytest.mark.parametrize(
    ("found", "indices"),
    [
        ([True, True], [0, 1]),
        ([True, False, False, True], [0, 0, 0, 3]),
        ([False, True, False, True], [1, 1, 1, 3]),
        ([False, False], None),
        ([], None),
    ],
)
def test_a_gap_takes_the_last_finding_else_the_next(
    found: list[bool], indices: list[int] | None
) -> None:
    assert stand_ins(found) == indices
