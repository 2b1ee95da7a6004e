"""The wire: wan_trt_v1.proto, and the code that `python -m wan_trt.server.proto.generate` makes."""
