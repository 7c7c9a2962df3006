"""The Discord door's features, one package each: cog.py, cards.py, views.py."""
