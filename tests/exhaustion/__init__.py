"""Dialogues that are cut at every byte, and calls that are cancelled between any two steps of trio's scheduler.

What is tried, and how to try all of it: docs/exhaustion.md.
"""
