"""What darkroom costs and gains, measured: each module is `python -m benchmarks.NAME [--quick]`."""
