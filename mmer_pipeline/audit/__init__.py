"""audit: checks of a corpus and its folds, one module per kind of finding.

Imports `corpora`, `scoring` and `pages`.
"""
