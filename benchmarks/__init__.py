"""The benchmark suite: this library beside what people use instead, as ratios of runs that follow each other.

    python -m benchmarks                                  every case and every installed peer
    python -m benchmarks --list                           what there is
    python -m benchmarks integers "peer-zmq-*"            some of it
    python -m benchmarks --json new.json --compare old.json
    python -m benchmarks --pictures docs/pictures         the sweeps too, and all as pictures
    python -m benchmarks --quick                          does it all still work?
    python -m benchmarks hostile                          what a healthy importer keeps beside hostile peers
    python -m benchmarks.codecs                           the value codec alone, beside other libraries

The modules, upwards: `work` (what is sent), `measure` (how it is timed), `peers` (who sends it), `process` (runs one of
the measuring processes), `cases` (who beside whom, and the goals), `results`, `children` (the processes, as the runner
sees them), `runner`, `report` and `pictures`. `hostile` has modules of its own.
"""
