"""Fuzzing of all that reads bytes of a peer. How to use it: CONTRIBUTING.md, "Fuzzing".

A target is a function that takes any bytes, and raises if what reads them does anything that it may not do. What reads
them may refuse them with the errors that it names; the target knows these, and every other exception leaves it.
"""
