"""Pretrained speech and text encoders: finding their files, loading them, and running them.

Imports none of the sibling packages.
"""
