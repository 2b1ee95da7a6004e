"""ONNX Runtime's genuine CUDA provider without a GPU, over libraries that do nothing."""
