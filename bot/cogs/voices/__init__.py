"""Personas: the voice in which cards speak of waiting, of what is done and of what failed."""
