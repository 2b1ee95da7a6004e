"""A simulated machine under the engine's scheduler (docs/scheduling.md)."""
