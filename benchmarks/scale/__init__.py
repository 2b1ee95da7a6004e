"""The parts of benchmarks/export_scale.py: what is exported, how it is measured, what is said."""
