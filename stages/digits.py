"""Stage `digits`: unpack scikit-learn's handwritten digits, the embedded data set."""

from pathlib import Path

from classifold.digits import write_digits
from classifold.folders import new_folder
from classifold.stage import run_stage


def main() -> None:
    with new_folder(Path("data/raw/digits")) as folder:
        write_digits(folder)


if __name__ == "__main__":
    run_stage(main)
