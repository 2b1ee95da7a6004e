"""Measures precision: ranges of activations, sensitivity of modules, the quality of a bundle."""
