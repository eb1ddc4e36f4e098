"""The extract stage: frozen features, computed once and stored in HDF5.

Contains the feature store, the inputs of the features, and the workers that compute them.
Imports `corpora` and `encoders`, and of `systems` only the registry.
"""
