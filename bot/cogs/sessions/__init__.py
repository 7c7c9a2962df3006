"""A session is a person's private channel: found, adopted or made, never twice."""
