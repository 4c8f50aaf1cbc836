"""A world of exporters, importers and bad connections in one process, all of which follows from a seed.

`docs/simulation.md` says what it is for.
"""
