"""The networks of the preprocessing, run by ONNX Runtime."""
