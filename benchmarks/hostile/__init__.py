"""Hostile peers: one of them, or many, do their worst to an exporter that a healthy importer uses at the same time.

    python -m benchmarks hostile                          every case
    python -m benchmarks hostile pings "tls-*"            some of them
    python -m benchmarks hostile --seconds 5 --list

Three processes for each case, on loopback: the `exporter`, the `healthy` importer, and the `attacker`. The parent
(`runner`) measures from outside what can be measured there. The modules, upwards: `words` (frames), `line` (one hostile
connection), `attacks` (what is done), `cases` (the table of it, and where the bars are), `outcome` (what was measured,
and which bars it missed), `runner` and `report`.
"""
