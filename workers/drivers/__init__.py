"""What is behind a GPU URL, one module a kind. Host side: no torch."""
