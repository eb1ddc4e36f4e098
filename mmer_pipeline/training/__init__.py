"""train and evaluate: batches, the optimiser step, the loop, one fold.

Imports `corpora`, `features`, `encoders`, `systems` and `scoring`.
"""
