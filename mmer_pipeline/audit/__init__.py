"""audit: checks of a corpus and its folds, one module a kind of finding.

Imports `corpora`, `scoring` and `pages`.
"""
