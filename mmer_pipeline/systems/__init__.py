"""The systems that can be trained: the registry, which does not import torch, and the models.

Imports `encoders`, and `settings` beside it.
"""
