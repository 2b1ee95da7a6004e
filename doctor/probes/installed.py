"""What is installed, by the metadata of distributions: nothing is imported."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from wan_trt.doctor.facts import Part, Software


def version_of(distribution: str) -> str | None:
    """None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def installed(part: Part) -> Software:
    return Software(version_of(part))
