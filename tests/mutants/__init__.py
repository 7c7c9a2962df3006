"""Deliberate defects in the real code, and the proof that the simulation finds each: a suite is trusted while it kills these."""
