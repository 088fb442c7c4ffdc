"""Compare Classifold with other libraries: the same images, weights, cores and time.

    PYTHONPATH=benchmarks python -m peers --images fruit.zip photos.zip --budgets 120 300 1200

Each peer trains on the train and validation images of Classifold's split, and predicts the test
images, in a process of its own and without a network. Results that are in the folder are kept, so
an interrupted bench goes on. docs/PEERS.md explains the table.
"""

import argparse
from pathlib import Path

from peers.bench import run
from peers.roster import PEERS
from peers.table import table

CACHE = Path(".cache")


def main() -> None:
    """Run what the command line names, and print the tables."""
    parser = argparse.ArgumentParser(prog="peers", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="zip archives")
    parser.add_argument("--budgets", type=int, nargs="+", default=[120, 300, 1200], help="seconds")
    parser.add_argument("--peers", nargs="*", default=[], help="words of names; default: all")
    parser.add_argument("--python", type=Path, default=CACHE / "peers/bin/python")
    parser.add_argument("--folder", type=Path, default=CACHE / "bench-peers", help="for results")
    options = parser.parse_args()
    wanted = [
        peer
        for peer in PEERS
        if not options.peers or any(word.lower() in peer.name.lower() for word in options.peers)
    ]
    for budget in options.budgets:
        for images in options.images:
            results = run(
                wanted, images, budget, python=options.python.absolute(), folder=options.folder
            )
            print(table(results), flush=True)


if __name__ == "__main__":
    main()
