"""The results as one table in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from roofline.results import Measured, Results

_HEADER = (
    "| what | size | linears | self attention | mode | seconds | TFLOP/s | of ceiling "
    "| error | GB |"
)


def table(results: Results) -> str:
    return "\n".join(_lines(results))


def _lines(results: Results) -> Iterator[str]:
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items() if value)
    yield f"{results.model['name']} on {machine}; {results.wall_s:.0f} s in all"
    if results.label:
        yield f"**{results.label}**"
    yield ""
    yield "| ceiling | fastest | at |"
    yield "|---|---|---|"
    for name, rates in results.ceilings.items():
        if rates:
            place = max(rates, key=lambda shape: rates[shape])
            unit = "TB/s" if name == "copy" else "TFLOP/s"
            yield f"| {name} | {_number(rates[place] / 1e12)} {unit} | {place} |"
    yield ""
    yield _HEADER
    yield "|---" * (_HEADER.count("|") - 1) + "|"
    yield from map(_row, results.measured)
    if results.missing:
        yield ""
        yield "| not measured | why |"
        yield "|---|---|"
        for missing in results.missing:
            yield f"| {missing.what} | {missing.why.replace('|', '/')} |"


def _row(measured: Measured) -> str:
    peak = "" if measured.peak_nbytes is None else f"{measured.peak_nbytes / 1e9:.1f}"
    error = "" if measured.error is None else f"{measured.error:.2g}"
    return (
        f"| {measured.stage} | {measured.size} | {measured.linears} | {measured.attention} "
        f"| {measured.mode} | {_number(measured.median_s)} | {_number(measured.rate / 1e12)} "
        f"| {100 * measured.fraction_of_ceiling:.0f} % | {error} | {peak} |"
    )


def _number(value: float) -> str:
    """Three significant digits, never an exponent."""
    for least, digits in ((100, 0), (10, 1), (1, 2), (0.1, 3), (0.01, 4)):
        if value >= least:
            return f"{value:.{digits}f}"
    return f"{value:.5f}"
