"""``darkroom demo``: the whole lab on this machine, showing itself.

Starts the rehearsal (a stand-in for Discord), a CPU worker with the house model and the real host as processes of their
own, lets six members ask at once, and fills a table as their pictures arrive, judged from their pixels.
"""

from bot.demo.show import show

__all__ = ["show"]
