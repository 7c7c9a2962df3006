"""A person's own pictures: found again, shown again, made again, taken home."""
