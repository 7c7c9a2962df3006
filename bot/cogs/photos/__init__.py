"""A job as Discord shows it: the card that moves, the picture that arrives, the button that cancels."""
