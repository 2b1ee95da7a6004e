"""ONNX -> TensorRT plans, on the GPU host where they will run (docs/gpu.md).

targets        which graph is built for which values of its symbols
static_graph   symbols -> numbers; what only depends on them is computed here
arithmetic     what is bfloat16 ; fusions: what must become one kernel each
operators      what TensorRT's parser takes ; estimate: bytes, before anything is built
dry_run        all of that for a bundle, without a GPU
tensorrt/      the build of one engine, in a process of its own: imports tensorrt
inspection     is every fusion there ; parity: is the plan right
build          all engines of a bundle, one after the other ; record: the manifest
"""
