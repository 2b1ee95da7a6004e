"""The page: verdict, checks, plots, frames side by side. It loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from wan_trt.calibration.gate.checks import Check
from wan_trt.calibration.gate.verdict import Verdict
from wan_trt.calibration.report.figures import frame_plots, sensitivity_plots, velocity_plots
from wan_trt.calibration.report.pictures import AMPLIFICATION, amplified, png_uri
from wan_trt.calibration.report.sensitivity import Sensitivity
from wan_trt.engine.bundle import Bundle
from wan_trt.media.partial_output import write_text

_SHOWN = ("reference", "candidate", "difference")
_STYLE = Path(__file__).with_name("page.css")


def write_report(verdict: Verdict, bundle: Bundle, name: str, path: Path) -> None:
    """Write the page about a bundle that was judged; `name` is what it is called, or will be.
    Raises MediaError or ResourceError, and BundleError where the bundle is damaged."""
    write_text(path, page(verdict, name, Sensitivity.of(bundle)), "report")


def page(verdict: Verdict, candidate: str, sensitivity: Sensitivity | None = None) -> str:
    """The page as text; `candidate` is the bundle's name."""
    body = "\n".join(_body(verdict, candidate, sensitivity))
    title = escape(f"{candidate}: {'passed' if verdict.passed else 'failed'}")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style></head>\n<body>\n{body}\n"
        "</body></html>\n"
    )


def _body(verdict: Verdict, candidate: str, sensitivity: Sensitivity | None) -> Iterator[str]:
    measured = verdict.measured
    word = "passed" if verdict.passed else "failed"
    yield f'<h1>{escape(candidate)} <span class="{word}">{word}</span></h1>'
    yield f"<p>against {escape(measured.against)}</p>"
    for job, told in measured.jobs.items():
        settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())
        yield f"<p>{escape(job)}: {escape(settings)}</p>"
    for note in measured.notes:
        yield f'<p class="note">{escape(note)}</p>'
    yield "<h2>Checks</h2>"
    yield _table(verdict.checks)
    if measured.velocities:
        yield "<h2>Velocity at each step</h2>"
        yield '<p class="note">Each step on the reference\'s inputs: the worst of all segments, '
        yield "and dotted their mean. Large timesteps are noise.</p>"
        yield _row(velocity_plots(measured.velocities, verdict.thresholds))
    for sample, frames in groupby(measured.frames, attrgetter("sample")):
        of = f" of {sample}" if sample else ""
        yield f"<h2>Frames{escape(of)}, segment by segment</h2>"
        yield _row(frame_plots([*frames], verdict.thresholds))
    if sensitivity:
        yield "<h2>Sensitivity of linears</h2>"
        yield from _notes(sensitivity)
        yield _row(sensitivity_plots(sensitivity))
    if measured.shown:
        yield "<h2>Frames</h2>"
        yield from _pictures(verdict)


def _notes(sensitivity: Sensitivity) -> Iterator[str]:
    evidence = sensitivity.evidence
    text = (
        f"What the search for this policy measured: each of {len(evidence.linears)} linears alone "
        f"in FP8, ranges by {evidence.origin.method}, the expert that suffers more. All together "
        f"had to stay below {evidence.budget**0.5:.3g}, the root of the budget {evidence.budget:g}."
    )
    yield f'<p class="note">{escape(text)}</p>'
    if not sensitivity.own:
        yield '<p class="note">It was measured on another checkpoint or with other LoRAs.</p>'


def _table(checks: tuple[Check, ...]) -> str:
    rows = "".join(
        f'<tr class="{"passed" if check.passed else "failed"}">'
        f"<td>{'passed' if check.passed else 'failed'}</td><td>{escape(check.name)}</td>"
        f'<td class="number">{check.value:.6g}</td><td>{escape(check.bounds)}</td>'
        f"<td>{escape(check.where)}</td></tr>"
        for check in checks
    )
    heads = "".join(f"<th>{head}</th>" for head in ("", "check", "worst", "allowed", "where"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _row(plots: list[str]) -> str:
    return f'<div class="plots">{"".join(f"<figure>{plot}</figure>" for plot in plots)}</div>'


def _pictures(verdict: Verdict) -> Iterator[str]:
    heads = ("frame", "reference", "candidate", f"difference x{AMPLIFICATION}, grey is none")
    yield '<table class="pictures"><thead><tr>'
    yield "".join(f"<th>{head}</th>" for head in heads)
    yield "</tr></thead><tbody>"
    for shown in verdict.measured.shown:
        frame = f"{shown.sample} {shown.index}".strip()
        pictures = (
            shown.reference,
            shown.candidate,
            amplified(shown.reference, shown.candidate),
        )
        cells = "".join(
            f'<td><img src="{png_uri(picture)}" alt="{name} of frame {escape(frame)}"></td>'
            for name, picture in zip(_SHOWN, pictures, strict=True)
        )
        yield f"<tr><td>{escape(frame)}</td>{cells}</tr>"
    yield "</tbody></table>"
