"""The page: verdict, checks, plots, frames side by side. It loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path

from wan_trt.calibration.gate.checks import Check
from wan_trt.calibration.gate.verdict import Verdict
from wan_trt.calibration.report.figures import frame_plots, velocity_plots
from wan_trt.calibration.report.pictures import AMPLIFICATION, amplified, png_uri
from wan_trt.calibration.report.plots import bar_plot
from wan_trt.media.partial_output import write_text

SHOWN_MODULES = 40
_SHOWN = ("reference", "candidate", "difference")
_STYLE = Path(__file__).with_name("page.css")


def write_report(
    verdict: Verdict,
    candidate: str,
    path: Path,
    sensitivity: Mapping[str, float] | None = None,
) -> None:
    """Write the page. `candidate` is the bundle's name, `sensitivity` the modules' relative errors,
    most sensitive first. Raises MediaError or ResourceError."""
    write_text(path, page(verdict, candidate, sensitivity), "report")


def page(verdict: Verdict, candidate: str, sensitivity: Mapping[str, float] | None = None) -> str:
    """The page as text."""
    body = "\n".join(_body(verdict, candidate, sensitivity or {}))
    title = escape(f"{candidate}: {'passed' if verdict.passed else 'failed'}")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style></head>\n<body>\n{body}\n"
        "</body></html>\n"
    )


def _body(verdict: Verdict, candidate: str, sensitivity: Mapping[str, float]) -> Iterator[str]:
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
        shown = dict(islice(sensitivity.items(), SHOWN_MODULES))
        yield "<h2>Sensitivity of modules</h2>"
        yield f'<p class="note">The {len(shown)} most sensitive of {len(sensitivity)}.</p>'
        yield _row([bar_plot("Relative error with one module in FP8", shown, "#6b7fd7")])
    if measured.shown:
        yield "<h2>Frames</h2>"
        yield from _pictures(verdict)


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
            for name, picture in zip(
                ("reference", "candidate", "difference"), pictures, strict=True
            )
        )
        yield f"<tr><td>{escape(frame)}</td>{cells}</tr>"
    yield "</tbody></table>"
