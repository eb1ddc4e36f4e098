"""The report: report_content.py says what it holds, build_report.py makes it from runs, the other modules show it.

Imports corpora, scoring, systems and pages; only `stages` imports it.
"""
