"""What a search measured: in a policy file, in a bundle."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from measured_evidence import made_up_evidence

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError, InputError
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.options import ExportOptions
from wan_trt.export.precision import Precision
from wan_trt.export.quantize.evidence import SENSITIVITY, Evidence
from wan_trt.export.quantize.policy import AttentionRule, LinearRule, Policy
from wan_trt.export.quantize.policy_text import policy_text
from wan_trt.export.quantize.scales import LoraUse
from wan_trt.export.synthetic.scales import synthetic_scales

EVIDENCE = made_up_evidence(["blocks.0.ffn.0", "blocks.1.ffn.2"])
RULES = (LinearRule(("blocks.0.ffn.0",), "fp8"), LinearRule(("*.ffn.2",), "high", "1:-1"))


def test_a_policy_written_is_the_policy_read() -> None:
    policy = Policy("own", RULES, (AttentionRule(":2", "fp8"),), EVIDENCE)
    assert Policy.parse(policy_text(policy), "own") == policy
    plain = replace(policy, evidence=None)
    assert Policy.parse(policy_text(plain), "own") == plain
    assert plain.digest == policy.digest


def test_foreign_text_is_kept_or_made_readable() -> None:
    origin = replace(
        EVIDENCE.origin,
        inputs={'a "b"/\\x\x7f\n.mp4': "00", "tänzer/\U0001f483.mp4": "11", "\udcff.mp4": "22"},
        loras={"high": (LoraUse("33", 0.123456789),), "low": (LoraUse("44", 1.0, 2.0),)},
        sampling={"seed": None, "guidance": [2.5, 1.0]},
    )
    text = policy_text(Policy("own", RULES, evidence=replace(EVIDENCE, origin=origin)))
    read = Policy.parse(text, "own").evidence
    assert read is not None
    assert read.origin.loras == origin.loras
    assert read.origin.sampling == {"guidance": [2.5, 1.0]}
    first, second, third = read.origin.inputs
    assert [first, second] == list(origin.inputs)[:2]
    assert third == "\\udcff.mp4"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("budget = 0.001", "limit = 0.001", r"unknown keys \['limit'\]"),
        ("budget = 0.001", "", r"lacks \['budget'\]"),
        ("total = ", "sum = ", r"unknown keys \['sum'\]"),
        ("calls = [", "calls = [0.5, ", "calls of blocks.0.ffn.0"),
        ("total = 0.", "total = -0.", "an error of blocks.0.ffn.0 that is -0."),
        ("high = [999", "middle = [999", r"timesteps of \['low', 'middle'\]"),
    ],
)
def test_evidence_that_is_none(before: str, after: str, said: str) -> None:
    text = policy_text(Policy("own", RULES, evidence=EVIDENCE))
    assert before in text
    with pytest.raises(InputError, match=said) as raised:
        Policy.parse(text.replace(before, after, 1), "own")
    assert raised.value.given.startswith("the policy own has evidence that is none")
    assert raised.value.field == "policy"


def test_a_bundle_keeps_the_evidence_of_its_policy(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tiny_loras: LoraStacks, tmp_path: Path
) -> None:
    policy = Policy("own", RULES[:1], evidence=EVIDENCE)
    scales = synthetic_scales(tiny_checkpoint, tiny_loras, policy)
    options = ExportOptions(
        tiny_loras,
        precision=Precision.FP8,
        reuse=(tiny_bundle.path,),
        scales=scales,
        policy=policy,
    )
    bundle = export_bundle(tiny_checkpoint, tmp_path / "bundle", options)
    assert SENSITIVITY in bundle.manifest.files
    bundle.verify()
    assert asdict(Evidence.read(bundle.path / SENSITIVITY)) == asdict(EVIDENCE)
    without = replace(options, policy=replace(policy, evidence=None))
    bundle = export_bundle(tiny_checkpoint, tmp_path / "bundle", without)
    assert SENSITIVITY not in bundle.manifest.files
    assert not (bundle.path / SENSITIVITY).exists()


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / SENSITIVITY).write_text(EVIDENCE.to_json()[:-9])
    with pytest.raises(BundleError, match=r"sensitivity\.json cannot be read"):
        Evidence.read(tmp_path / SENSITIVITY)
