"""Run benchmarks: ours and its peer in turn, on the same data, in one process each.

A shared machine's times mean little; the ratios of one interleaved run do. Each line prints the
median speed of both and their ratio, with the smallest and largest ratio of a round. Words after
the command choose benchmarks by their names: `python benchmarks/run.py ingest split`.
"""

import sys


def main() -> None:
    """Run what the command line names."""
    # Here, since helper processes import this file again, and peers are slow to import.
    from suites import run  # noqa: PLC0415

    run(sys.argv[1:])


if __name__ == "__main__":
    main()
