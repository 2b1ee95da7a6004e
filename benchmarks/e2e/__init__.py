"""The parts of benchmarks/e2e_cpu.py: one side of the comparison a module, and what they share."""
