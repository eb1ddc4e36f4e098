"""A trained model in use: packing it, cutting recordings into utterances, transcribing and classifying them.

Imports `corpora`, `encoders`, `systems`, `training` and `pages`; only `stages` imports it.
"""
