"""Run benchmarks: our code and an alternative in turn, on the same data, in one process.

    python benchmarks/run.py                          # all, twelve minutes on two cores
    python benchmarks/run.py ingest split             # suites whose names contain one of the words
    python benchmarks/run.py --images fruit.zip --docs docs/SPEED.md

Absolute times on a shared machine vary; the ratios within one run vary less. Each line prints the
median speed of both and their ratio, with the smallest and largest ratio of a round. `--docs`
writes the table of all of them into a page.
"""

import argparse
from pathlib import Path


def main() -> None:
    """Run the benchmarks whose names are on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="such as ingest split; default: all")
    parser.add_argument(
        "--images", type=Path, help="an archive for the pipeline; default: synthetic"
    )
    parser.add_argument("--docs", type=Path, help="a page whose table is replaced")
    parser.add_argument("--tiny", action="store_true", help="a try with few images, one round")
    options = parser.parse_args()
    # Imported here, since worker processes import this file, too, and the peers are slow to import.
    from comparison import Options  # noqa: PLC0415
    from suites import run  # noqa: PLC0415

    run(options.names, Options(options.images, options.tiny), docs=options.docs)


if __name__ == "__main__":
    main()
