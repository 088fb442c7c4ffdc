"""Stage `check`: validate params.yaml before any other stage runs.

DVC deletes the outputs of a stage, also its metrics in Git, before it starts the stage. An error in
params.yaml must therefore stop the run before that. The output is always the same, so that no stage
runs again because of it.
"""

from pathlib import Path

from classifold.params.validation import check_params
from classifold.runtime.atomic_files import new_file
from classifold.runtime.stage import run_stage


def main() -> None:
    check_params()
    with new_file(Path("data/checked.txt")) as partial:
        partial.write_text("params.yaml is valid\n", encoding="utf-8")


if __name__ == "__main__":
    run_stage(main)
