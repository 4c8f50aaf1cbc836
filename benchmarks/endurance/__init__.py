"""Everything comes and goes, for hours, and nothing may grow: `python -m benchmarks endurance`.

One process has an exporter that lives as long as the run, and importers that do not; others are processes that are
killed. In rounds: churn, then rest, in which all that was begun has ended; then what is still there is counted.
"""
