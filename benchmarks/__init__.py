"""Figures, with a baseline measured in the same run. Each is `python -m benchmarks.NAME [--quick]`; the last line is JSON."""
