"""What is said of a machine and a bundle: facts in, findings, backends and exit code out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from machines import A100, CPU_MACHINE, FP8_BUNDLE, GB, H100, H100_PLANS, L40S, gpu_machine

from wan_trt.doctor.diagnosis import Backend, Diagnosis, diagnose
from wan_trt.doctor.facts import BadBundle, Facts, Gpus, Part, Software
from wan_trt.doctor.finding import Weight
from wan_trt.doctor.report import lines
from wan_trt.engine.plan_entry import FusionRecord, PlanEntry


def with_software(facts: Facts, changed: Mapping[Part, Software]) -> Facts:
    return replace(facts, software={**facts.software, **changed})


def told(diagnosis: Diagnosis, weight: Weight) -> list[str]:
    return [str(finding) for finding in diagnosis.findings if finding.weight is weight]


def only_problem(diagnosis: Diagnosis) -> str:
    [text] = told(diagnosis, Weight.PROBLEM)
    return text


def test_a_machine_without_a_gpu_is_no_problem() -> None:
    diagnosis = diagnose(CPU_MACHINE)
    assert diagnosis.backends == (Backend.ORT_CPU,)
    assert diagnosis.exit_code == 0
    assert not told(diagnosis, Weight.PROBLEM)
    [gpu] = told(diagnosis, Weight.NOTE)
    assert "no NVIDIA driver answers" in gpu
    assert "--gpus all" in gpu


def test_a_production_machine_has_nothing_to_do() -> None:
    diagnosis = diagnose(gpu_machine(H100))
    assert diagnosis.backends == (Backend.TENSORRT, Backend.ORT_CPU)
    assert diagnosis.findings == ()


def test_a_gpu_without_tensorrt_runs_what_is_there() -> None:
    runtime = Software("1.31.1", offers=("CUDAExecutionProvider", "CPUExecutionProvider"))
    missing = {Part.TENSORRT: Software(), Part.ONNX_RUNTIME: runtime}
    diagnosis = diagnose(with_software(gpu_machine(H100), missing))
    assert diagnosis.backends == (Backend.ORT_CUDA, Backend.ORT_CPU)
    assert only_problem(diagnosis).startswith("tensorrt: not installed")


def test_a_provider_that_does_not_load_runs_nothing() -> None:
    runtime = Software(
        "1.31.1",
        offers=("CPUExecutionProvider",),
        withheld="CUDAExecutionProvider: libcublasLt.so.13: cannot open shared object file",
    )
    diagnosis = diagnose(with_software(gpu_machine(H100), {Part.ONNX_RUNTIME: runtime}))
    assert diagnosis.backends == (Backend.TENSORRT, Backend.ORT_CPU)
    assert "does not load CUDAExecutionProvider: libcublasLt" in only_problem(diagnosis)
    without_gpu = diagnose(with_software(CPU_MACHINE, {Part.ONNX_RUNTIME: runtime}))
    assert not told(without_gpu, Weight.PROBLEM)


@pytest.mark.parametrize(
    ("part", "found", "words"),
    [
        (Part.TENSORRT, Software("11.3.0.2"), "11.3.0.2 is too old, 11.4 is needed"),
        (Part.TENSORRT, Software("11.4.0.1", "libnvinfer.so.11: not found"), "libnvinfer.so.11"),
        (Part.CUDA_BINDINGS, Software(), "cuda-bindings: not installed"),
    ],
)
def test_what_keeps_tensorrt_from_running(part: Part, found: Software, words: str) -> None:
    diagnosis = diagnose(with_software(gpu_machine(H100), {part: found}))
    assert Backend.TENSORRT not in diagnosis.backends
    assert words in only_problem(diagnosis)


def test_a_later_tensorrt_serves() -> None:
    for version in ("11.10.0.1", "12.0"):
        facts = with_software(gpu_machine(H100), {Part.TENSORRT: Software(version)})
        assert Backend.TENSORRT in diagnose(facts).backends


def test_an_old_driver_serves_none_of_the_software() -> None:
    old = Gpus("550.54.15", (12, 4), (H100,))
    diagnosis = diagnose(replace(gpu_machine(H100), gpus=old))
    assert diagnosis.backends == (Backend.ORT_CPU,)
    assert "update it to 580 or newer" in only_problem(diagnosis)


def test_a_broken_driver_is_a_problem() -> None:
    broken = Gpus("580.159.04", problem="the driver does not show its GPUs (Unknown Error)")
    diagnosis = diagnose(replace(CPU_MACHINE, gpus=broken))
    assert "nvidia-smi" in only_problem(diagnosis)
    assert diagnosis.exit_code == 0


@pytest.mark.parametrize(
    ("visible_devices", "names"),
    [
        (None, [H100.name, L40S.name]),
        ("1", [L40S.name]),
        ("1,0", [L40S.name, H100.name]),
        ("GPU-1122", [L40S.name]),
        ("GPU-11", []),  # of two
        ("0,7,1", [H100.name]),  # as in CUDA: the list ends at what is no GPU
        ("", []),
        ("-1", []),
    ],
)
def test_visible_devices(visible_devices: str | None, names: list[str]) -> None:
    facts = gpu_machine(H100, L40S, visible_devices=visible_devices)
    diagnosis = diagnose(facts)
    assert (Backend.TENSORRT in diagnosis.backends) == bool(names)
    shown = [line for line in lines(diagnosis) if line.startswith("gpu ")]
    assert [line for line in shown if "hidden" not in line] == [
        line for name in sorted(names) for line in shown if name in line
    ]
    assert any("CUDA_VISIBLE_DEVICES is" in text for text in told(diagnosis, Weight.PROBLEM)) == (
        not names
    )


def test_a_machine_where_nothing_runs_asks_for_another() -> None:
    broken = {Part.ONNX_RUNTIME: Software("1.31.1", problem="ImportError: libstdc++")}
    diagnosis = diagnose(with_software(CPU_MACHINE, broken))
    assert diagnosis.backends == ()
    assert diagnosis.exit_code == 3
    assert "does not load: ImportError: libstdc++" in only_problem(diagnosis)
    assert "runs here      nothing" in list(lines(diagnosis))


def test_video_and_server_software() -> None:
    without = {Part.AV: Software("18.1.0"), Part.GRPC: Software()}
    diagnosis = diagnose(with_software(CPU_MACHINE, without))
    assert "libx264" in only_problem(diagnosis)
    assert any("wan-trt[server]" in text for text in told(diagnosis, Weight.NOTE))


def test_a_bad_bundle_is_exit_code_2_beside_all_that_works() -> None:
    bad = BadBundle("animate", "animate/weights/11aa is missing; expected 20 bytes; copy it again")
    diagnosis = diagnose(replace(gpu_machine(H100), bundle=bad))
    assert diagnosis.exit_code == 2
    assert only_problem(diagnosis) == f"bundle: {bad.problem}"


def planned(facts: Facts, *plans: PlanEntry) -> Diagnosis:
    return diagnose(replace(facts, bundle=replace(FP8_BUNDLE, plans=plans)))


def test_plans_that_fit_run() -> None:
    diagnosis = planned(gpu_machine(H100), *H100_PLANS)
    assert diagnosis.backends == (Backend.TENSORRT, Backend.ORT_CPU)
    assert not diagnosis.findings


def test_a_plan_belongs_to_an_architecture() -> None:
    """An H200 is one with the H100."""
    same = gpu_machine(replace(H100, name="NVIDIA H200"))
    assert Backend.TENSORRT in planned(same, *H100_PLANS).backends
    other = planned(gpu_machine(L40S), *H100_PLANS)
    assert Backend.TENSORRT not in other.backends
    assert "built for NVIDIA H100 80GB HBM3, here is NVIDIA L40S" in only_problem(other)


def test_a_plan_belongs_to_a_version_of_tensorrt() -> None:
    plans = [replace(plan, tensorrt="11.5.0.1") for plan in H100_PLANS]
    diagnosis = planned(gpu_machine(H100), *plans)
    assert Backend.TENSORRT not in diagnosis.backends
    assert "built by TensorRT 11.5.0.1, here is 11.4.0.106" in only_problem(diagnosis)


def test_each_expert_needs_a_plan() -> None:
    diagnosis = planned(gpu_machine(H100), H100_PLANS[0])
    assert Backend.TENSORRT not in diagnosis.backends
    assert "not every expert's denoiser has one" in only_problem(diagnosis)


def test_another_driver_is_worth_a_note() -> None:
    gpu = replace(H100_PLANS[0].gpu, driver="575.1")
    diagnosis = planned(gpu_machine(H100), *(replace(plan, gpu=gpu) for plan in H100_PLANS))
    assert Backend.TENSORRT in diagnosis.backends
    [text] = told(diagnosis, Weight.NOTE)
    assert "driver 575.1, here is 580.159.04" in text


def test_what_is_not_fused_is_worth_a_note() -> None:
    loose = FusionRecord(attentions=128, fp8_linears=336, unfused=("node_7",), required=False)
    plans = [replace(plan, fusions=loose) for plan in H100_PLANS]
    [text] = told(planned(gpu_machine(H100), *plans), Weight.NOTE)
    assert "denoiser-high-frames21" in text


def test_a_bundle_without_plans_says_how_to_make_them() -> None:
    diagnosis = planned(gpu_machine(H100))
    assert Backend.TENSORRT not in diagnosis.backends
    assert "wan-trt build animate" in only_problem(diagnosis)


def test_what_fits_into_memory() -> None:
    small = replace(L40S, free_nbytes=10 * GB)
    facts = replace(gpu_machine(H100, L40S, small), bundle=FP8_BUNDLE)
    fits = [line.split(": ")[1] for line in lines(diagnose(facts)) if line.startswith("fits ")]
    assert [text.split(" (")[0] for text in fits] == [
        "both experts",
        "one expert at a time",
        "not at all",
    ]
    assert fits[0].endswith("(52.1 GB of 84.0 GB free)")
    alone = diagnose(replace(gpu_machine(small), bundle=replace(FP8_BUNDLE, plans=H100_PLANS)))
    assert Backend.TENSORRT not in alone.backends
    assert any("too little for 832x480, 77 frames" in t for t in told(alone, Weight.PROBLEM))


def test_fp8_on_a_gpu_that_has_none() -> None:
    diagnosis = diagnose(replace(gpu_machine(A100), bundle=FP8_BUNDLE))
    assert any("--precision bf16" in text for text in told(diagnosis, Weight.PROBLEM))


def test_the_gate_is_part_of_the_diagnosis() -> None:
    failed = diagnose(replace(CPU_MACHINE, bundle=replace(FP8_BUNDLE, gate=False)))
    assert any("did not pass its gate" in text for text in told(failed, Weight.PROBLEM))
    unjudged = diagnose(replace(CPU_MACHINE, bundle=replace(FP8_BUNDLE, gate=None)))
    assert any("wan-trt gate" in text for text in told(unjudged, Weight.NOTE))


def test_weights_that_a_cpu_widens_must_fit() -> None:
    tight = diagnose(replace(CPU_MACHINE, bundle=FP8_BUNDLE))
    assert "become 140.0 GB of float32, 120.0 GB are available" in only_problem(tight)
    assert tight.exit_code == 0  # slow, not impossible: a system may swap


def test_full_disks_are_seen_before_a_build() -> None:
    facts = replace(gpu_machine(H100), bundle=FP8_BUNDLE)
    assert facts.disk is not None
    full = replace(facts, disk=replace(facts.disk, free_nbytes=GB))
    assert any("make room" in text for text in told(diagnose(full), Weight.NOTE))


def test_every_problem_says_what_to_do() -> None:
    worst = replace(
        gpu_machine(replace(A100, ecc=False, mig=True, free_nbytes=GB)),
        software=dict.fromkeys(Part, Software()),
        bundle=replace(FP8_BUNDLE, gate=False),
    )
    findings = diagnose(worst).findings
    assert len(findings) > 6
    assert all(finding.action for finding in findings)
