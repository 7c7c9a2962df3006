"""From the private studio to the gallery: with consent, votes and a way back."""
