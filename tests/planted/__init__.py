"""Whether the tests see faults: bugs are planted in a copy of the package, and the tests must fail there."""
