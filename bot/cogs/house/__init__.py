"""What anybody may ask of the house: the queue, the GPUs, help."""
