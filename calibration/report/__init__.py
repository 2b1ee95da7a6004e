"""The gate's report: one HTML page that needs nothing besides itself."""
