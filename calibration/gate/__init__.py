"""The quality gate: whether a bundle's results are as good as a reference's (docs/fp8.md)."""
