"""HTML pages and plots: the look and the templates that audit and report share.

Imports nothing of the packages beside it.
"""
