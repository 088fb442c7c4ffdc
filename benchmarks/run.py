"""Run benchmarks: our code and an alternative in turn, on the same data, in one process.

Absolute times on a shared machine vary; the ratios within one run vary less. Each line prints the
median speed of both and their ratio, with the smallest and largest ratio of a round.
"""

import argparse


def main() -> None:
    """Run the benchmarks whose names are on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="such as ingest split; default: all")
    names = parser.parse_args().names
    # Imported here, since worker processes import this file, too, and the peers are slow to import.
    from suites import run  # noqa: PLC0415

    run(names)


if __name__ == "__main__":
    main()
