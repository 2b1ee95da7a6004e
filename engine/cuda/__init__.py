"""What runs on an NVIDIA GPU beside the graphs: driver calls, kernels, noise, the solver's update.

Importing this package loads nothing of CUDA; `philox` is numpy alone.
"""
