"""The systems that can be trained: a registry without torch, and the models.

Imports `encoders`.
"""
