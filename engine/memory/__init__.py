"""Paged memory: fixed addresses, pages behind them only while they are in use (docs/gpu.md)."""
