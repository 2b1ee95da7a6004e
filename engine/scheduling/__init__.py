"""Which job's unit of work runs next: decided over plain values (docs/scheduling.md)."""
