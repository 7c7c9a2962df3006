"""How a person likes things, and what is stored of them."""
