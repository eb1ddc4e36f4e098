"""The train and evaluate stages: batches, the optimiser step, the training loop, and one fold of a run.

Imports `corpora`, `features`, `encoders`, `systems` and `scoring`.
"""
