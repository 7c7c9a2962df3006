"""Deterministic simulation: the real store, desk, dispatcher, pool and poster in virtual time, with process death at any await.

Workers and Discord are simulated behind their ports. Everything comes from one seed: ``python -m tests.simulation --seed 17``.
"""
