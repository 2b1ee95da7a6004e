"""One engine's build, refit and trial run: all that calls TensorRT while plans are made.

Thin around the API: every decision is in `wan_trt.plan`. `tests/trt` checks each call here
against TensorRT's own bindings; nothing here has run on a GPU yet.
"""
