"""Stage `digits`: write the embedded data set, the handwritten digits of scikit-learn."""

from pathlib import Path

from classifold.ingest.digits import write_digits
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.stage import run_stage


def main() -> None:
    with new_folder(Path("data/raw/digits")) as folder:
        write_digits(folder)


if __name__ == "__main__":
    run_stage(main)
