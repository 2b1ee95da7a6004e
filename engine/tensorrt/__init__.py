"""Plans on a GPU with TensorRT 11.4 or later. Imported by whoever runs plans, never by default."""
