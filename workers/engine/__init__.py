"""The only torch in the house: the step loop, the model families, previews, memory.

The engine knows nothing of HTTP, tokens or hosts. `loop.Engine` takes `run.RunSpec`s and tells what becomes of them;
one thread owns every forward pass. Importing any of its modules but `backend`, `device`, `single_file` and `families.*`
imports no torch: those are imported by the engine's own threads when it starts.
"""
