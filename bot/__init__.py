"""The Discord door, and the host's composition root."""
