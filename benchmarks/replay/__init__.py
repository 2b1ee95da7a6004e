"""A small trace on the real engine, beside what the simulator makes of it (docs/scheduling.md)."""
