"""Metrics of predictions, and how certain they are.

Imports nothing of the packages beside it.
"""
