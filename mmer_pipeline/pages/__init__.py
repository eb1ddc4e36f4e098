"""HTML pages and plots: the style and the templates that audit and report share.

Imports no other package of the project.
"""
