"""LoRAs: small additions to a model's layers, other ones for each picture of one pass.

`library` finds the files (no torch), `names` reads their dialects (no torch), `weights` loads them, `rows` adds them to the
rows of a forward pass.
"""
