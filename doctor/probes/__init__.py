"""Questions to one thing each: modules with `probe()`, which runs in a process of its own."""
