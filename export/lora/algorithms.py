"""Which tensors make which kind of change: the table from roles to `Change`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wan_trt.export.lora.adapter_file import Factor
from wan_trt.export.lora.changes import Change, Hadamard, LowRank
from wan_trt.export.lora.kronecker import Kronecker, Side
from wan_trt.export.lora.tails import Role

Factors = Mapping[Role, Factor]


@dataclass(frozen=True)
class Algorithm:
    """`roles` are all it may consist of; `complete` lists the ways to have enough of them.

    `rivals` are roles that say the same thing twice when both stand there.
    """

    name: str
    roles: frozenset[Role]
    complete: tuple[frozenset[Role], ...]
    build: Callable[[Factors], Change]
    rivals: tuple[tuple[Role, Role], ...] = ()

    def twice(self, present: frozenset[Role]) -> bool:
        """Whether one operand is given in two ways."""
        return any(present.issuperset(pair) for pair in self.rivals)

    def missing(self, present: frozenset[Role]) -> frozenset[Role]:
        """What the nearest complete set still lacks; empty if `present` is a complete set."""
        if present in self.complete:
            return frozenset()
        lacking = [ways - present for ways in self.complete if ways - present]
        return min(lacking, key=lambda roles: (len(roles), sorted(roles)))


def _low_rank(found: Factors) -> Change:
    return LowRank(found[Role.DOWN], found[Role.UP], found.get(Role.MID))


def _hadamard(found: Factors) -> Change:
    return Hadamard(
        first=(found[Role.HADA_W1_A], found[Role.HADA_W1_B]),
        second=(found[Role.HADA_W2_A], found[Role.HADA_W2_B]),
        tucker=(found[Role.HADA_T1], found[Role.HADA_T2]) if Role.HADA_T1 in found else None,
    )


def _kronecker(found: Factors) -> Change:
    def side(whole: Role, a: Role, b: Role, core: Factor | None = None) -> Side:
        if whole in found:
            return Side(whole=found[whole])
        return Side(pair=(found[a], found[b]), core=core)

    return Kronecker(
        side(Role.LOKR_W1, Role.LOKR_W1_A, Role.LOKR_W1_B),
        side(Role.LOKR_W2, Role.LOKR_W2_A, Role.LOKR_W2_B, found.get(Role.LOKR_T2)),
    )


def _algorithm(
    name: str,
    build: Callable[[Factors], Change],
    *complete: frozenset[Role],
    rivals: tuple[tuple[Role, Role], ...] = (),
) -> Algorithm:
    return Algorithm(name, frozenset().union(*complete), complete, build, rivals)


_PAIR = frozenset({Role.DOWN, Role.UP})
_HADA = frozenset({Role.HADA_W1_A, Role.HADA_W1_B, Role.HADA_W2_A, Role.HADA_W2_B})
_LOKR_FIRST = (frozenset({Role.LOKR_W1}), frozenset({Role.LOKR_W1_A, Role.LOKR_W1_B}))
_LOKR_SECOND = (
    frozenset({Role.LOKR_W2}),
    frozenset({Role.LOKR_W2_A, Role.LOKR_W2_B}),
    frozenset({Role.LOKR_W2_A, Role.LOKR_W2_B, Role.LOKR_T2}),
)

ALGORITHMS = (
    _algorithm("lora", _low_rank, _PAIR, _PAIR | {Role.MID}),
    _algorithm("loha", _hadamard, _HADA, _HADA | {Role.HADA_T1, Role.HADA_T2}),
    _algorithm(
        "lokr",
        _kronecker,
        *(a | b for a in _LOKR_FIRST for b in _LOKR_SECOND),
        rivals=(
            (Role.LOKR_W1, Role.LOKR_W1_A),
            (Role.LOKR_W1, Role.LOKR_W1_B),
            (Role.LOKR_W2, Role.LOKR_W2_A),
            (Role.LOKR_W2, Role.LOKR_W2_B),
        ),
    ),
)
