"""Dask's workers, on this machine or elsewhere: connections to them, and the work that they are given.

Extraction and cross-validation use it; it imports none of the pipeline's steps.
"""
