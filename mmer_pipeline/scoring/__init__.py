"""Metrics of predictions, their intervals, and comparisons of systems.

Imports no other package of the project.
"""
