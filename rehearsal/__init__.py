"""A stand-in for Discord on loopback: REST v10, gateway v10, CDN, and people to play through `/control`.

An island: it imports nothing of the house, and the house imports nothing of it. `CONTROL.md` beside this file describes
how members are played; `python -m rehearsal` starts it.
"""
