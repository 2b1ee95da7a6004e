"""FP8: which modules (policy), with which ranges (scales), as which nodes and bytes."""
