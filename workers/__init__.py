"""Whatever makes pictures: on the host side the pool and its drivers, on the GPU side the server and the engine.

`workers.protocol` is all that both sides share. The host never imports `workers.server` or `workers.engine`.
"""
