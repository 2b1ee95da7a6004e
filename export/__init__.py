"""Checkpoint + LoRAs -> bundle; the only home of torch."""

import os

# Weights are read, folded and written as large tensors of short life: with huge pages their memory
# is had from the system in a tenth of the calls. torch reads this at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
