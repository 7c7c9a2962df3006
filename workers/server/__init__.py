"""The GPU-side process: the engine behind a small HTTP server. `workers.protocol` says what is spoken."""
