"""Search for settings by Optuna: trials on validation parts, their page, and the chosen settings.

Imports cross_validation, settings, runs and pages; no other package imports it.
"""
