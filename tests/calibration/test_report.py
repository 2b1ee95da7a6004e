"""The report: a whole page by itself, whose plots show the numbers that were measured."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from measured_evidence import made_up_evidence
from PIL import Image

from wan_trt.calibration.gate.verdict import Verdict
from wan_trt.calibration.report.page import page
from wan_trt.calibration.report.pictures import amplified
from wan_trt.calibration.report.plots import Axis, Bar, Series, bar_plot, line_plot
from wan_trt.calibration.report.sensitivity import Sensitivity
from wan_trt.engine.bundle import Bundle

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Collects text, sources of pictures and links; unbalanced tags are errors."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed where it is opened."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader


def plots(text: str) -> dict[str, ElementTree.Element]:
    found = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    return {svg.attrib["aria-label"]: svg for svg in found}


def test_the_page_is_whole_by_itself(broken_verdict: Verdict) -> None:
    text = page(broken_verdict, "bundle <8>")
    reader = read(text)
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert len(reader.sources) == 3 * len(broken_verdict.measured.shown) == 12
    assert "bundle <8> " in reader.text
    assert "url(" not in text


def test_every_check_is_a_row(broken_verdict: Verdict) -> None:
    reader = read(page(broken_verdict, "bundle"))
    for check in broken_verdict.checks:
        assert check.name in reader.text
        assert check.where in reader.text
    assert reader.text.count("failed") == len(broken_verdict.failed) + 1


def test_the_plots_show_each_expert_and_each_colour(broken_verdict: Verdict) -> None:
    shown = plots(page(broken_verdict, "bundle", SENSITIVITY))
    assert set(shown) == {
        "Relative error of the velocity",
        "Angle of the velocity",
        "Drift of the mean colour",
        "PSNR",
        "SSIM",
        "Motion",
        "Error with one linear in FP8",
        "The first of them over timesteps",
    }
    error = shown["Relative error of the velocity"]
    measured = broken_verdict.measured
    timesteps = {x.timestep for x in measured.velocities}
    worst = {
        t: max(x.relative_error for x in measured.velocities if x.timestep == t) for t in timesteps
    }
    titles = [node.text or "" for node in error.iter(f"{SVG}title")]
    told = dict(title.split(", ")[1].split(": ") for title in titles)
    assert {int(t): float(value) for t, value in told.items()} == pytest.approx(worst, rel=1e-4)
    assert len(list(shown["Drift of the mean colour"].iter(f"{SVG}circle"))) == 3 * 4


def test_each_sample_has_frame_plots_of_its_own(broken_verdict: Verdict) -> None:
    measured = broken_verdict.measured
    names = ("first", "<2>")
    frames = tuple(replace(x, sample=sample) for sample in names for x in measured.frames)
    shown = tuple(replace(x, sample=sample) for sample in names for x in measured.shown)
    jobs = {sample: dict(measured.jobs["made up"]) for sample in names}
    of_two = replace(measured, frames=frames, shown=shown, jobs=jobs)
    reader = read(page(replace(broken_verdict, measured=of_two), "bundle"))
    for sample in names:
        assert f"Frames of {sample}, segment by segment" in reader.text
        assert f"{sample} 0" in reader.text
        assert any(text.startswith(f"{sample}: steps 4, ") for text in reader.text)
    assert reader.text.count("SSIM") == 2


def test_points_lie_where_their_values_are() -> None:
    line = Series("a", "#000", [(0, 0.0), (1, 1.0), (2, 0.5), (3, float("nan"))])
    svg = ElementTree.fromstring(line_plot("t", Axis("x", falling=True), "y", [line], [0.5]))
    spots = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in svg.iter(f"{SVG}circle")]
    assert len(spots) == 3
    assert spots[0][0] > spots[1][0] > spots[2][0]
    assert spots[2][1] == pytest.approx((spots[0][1] + spots[1][1]) / 2, abs=0.1)
    [limit] = [node for node in svg.iter(f"{SVG}line") if node.attrib.get("class") == "limit"]
    assert float(limit.attrib["y1"]) == pytest.approx(spots[2][1])


def test_a_plot_of_nothing_different_is_drawn() -> None:
    line = Series("a", "#000", [(0, 0.0), (1, 0.0)])
    assert "polyline" in line_plot("t", Axis("x", ["first", "second"]), "y", [line])


def test_bars_are_as_long_as_their_values() -> None:
    bars = [Bar("a", 4.0, "kind"), Bar("b", 1.0, "kind")]
    svg = ElementTree.fromstring(bar_plot("t", "y", bars, {"kind": "#123"}))
    drawn = [bar for bar in svg.iter(f"{SVG}rect") if bar.attrib.get("class") == "bar"]
    long, short = (float(bar.attrib["width"]) for bar in drawn)
    assert long == pytest.approx(4 * short)


def test_the_difference_is_amplified_around_grey(broken_verdict: Verdict) -> None:
    reference = np.full((2, 2, 3), 100, np.uint8)
    candidate = reference + np.array([0, 2, 200 - 100], np.uint8)
    assert amplified(reference, candidate)[0, 0].tolist() == [128, 160, 255]
    shown = broken_verdict.measured.shown[0]
    uri = read(page(broken_verdict, "bundle")).sources[1]
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(picture), shown.candidate)


def test_a_run_that_failed_has_a_page_too(broken_verdict: Verdict) -> None:
    measured = replace(broken_verdict.measured, frames=(), latents=(), shown=(), failure="NaN")
    reader = read(page(replace(broken_verdict, measured=measured), "bundle"))
    assert "Frames" not in reader.text


LINEARS = [f"blocks.{block}.{part}" for block in range(8) for part in ("ffn.0", "ffn.2", "o", "q")]
SENSITIVITY = Sensitivity(made_up_evidence(LINEARS), frozenset(LINEARS[:20]), own=True)


def test_the_most_sensitive_linears_are_shown(broken_verdict: Verdict) -> None:
    text = page(broken_verdict, "bundle", SENSITIVITY)
    assert "each of 32 linears alone in FP8, ranges by max" in text
    assert "below 0.0316, the root of the budget 0.001" in text
    assert "other LoRAs" not in text
    assert "other LoRAs" in page(broken_verdict, "b", replace(SENSITIVITY, own=False))
    shown = plots(text)
    bars = list(shown["Error with one linear in FP8"].iter(f"{SVG}rect"))
    fills = [bar.attrib["fill"] for bar in bars if bar.attrib.get("class") == "bar"]
    assert len(fills) == 24
    assert fills == [fills[0]] * 12 + [fills[-1]] * 12, "the 12 most sensitive are kept high"
    assert fills[0] != fills[-1]
    names = [node.text for node in shown["Error with one linear in FP8"].iter(f"{SVG}text")]
    assert names[2] == LINEARS[-1], "the most sensitive is first"


def test_sensitivity_over_timesteps_is_of_the_expert_that_serves_them(
    broken_verdict: Verdict,
) -> None:
    shown = plots(page(broken_verdict, "bundle", SENSITIVITY))["The first of them over timesteps"]
    titles = [node.text or "" for node in shown.iter(f"{SVG}title")]
    told = [title.split(", ") for title in titles if title.startswith(f"{LINEARS[-1]}, ")]
    found = {int(t): float(value) for t, value in (text.split(": ") for _, text in told)}
    factor = 2.0 ** (len(LINEARS) - 1) * 1e-6
    assert found == pytest.approx(
        {t: (factor * (1000 - t)) ** 0.5 for t in (999, 940, 800, 300)}, rel=1e-4
    )


def test_a_legend_that_is_too_wide_goes_on_below() -> None:
    lines = [Series(f"blocks.{n}.self_attn.q", "#000", [(0, 0.0), (1, 1.0)]) for n in range(6)]
    svg = ElementTree.fromstring(line_plot("t", Axis("x"), "y", lines))
    spots = [node for node in svg.iter(f"{SVG}text") if (node.text or "").startswith("blocks.")]
    assert len(spots) == 6
    assert len({(node.attrib["x"], node.attrib["y"]) for node in spots}) == 6
    assert max(float(node.attrib["x"]) for node in spots) < 560 - 100
    assert max(float(node.attrib["y"]) for node in spots) < float(svg.attrib["height"])


def test_only_a_bundle_with_evidence_has_a_sensitivity(tiny_bundle: Bundle) -> None:
    assert Sensitivity.of(tiny_bundle) is None
