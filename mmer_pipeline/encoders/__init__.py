"""Pretrained speech and text encoders: where their files lie, how they are loaded, what is computed with them.

Imports nothing of the packages beside it.
"""
