"""extract: frozen features, computed once and stored in HDF5.

The store, the inputs that features are computed from, and the workers that compute them. Imports `corpora` and
`encoders`.
"""
