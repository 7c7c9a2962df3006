"""One module for each thing the door serves."""
