"""Stage `compare`: collect the results of exactly the listed models, and fit their decisions."""

from pathlib import Path

from classifold.data.json_file import write_json
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage
from classifold.stacking.comparison import compare_models, format_validation_scores
from classifold.stacking.unlisted_models import remove_unlisted


def main() -> None:
    names = list(read_params("models"))
    models, metrics = Path("models"), Path("metrics/train")
    remove_unlisted(
        names,
        folders={models: "model.json", Path("data/folds"): "folds.csv"},
        json_folders=[metrics, *map(Path, ("metrics/folds", "timings/train", "timings/folds"))],
    )

    with new_folder(Path("data/compared")) as folder:
        table = compare_models(names, folder, models=models, metrics=metrics)

    write_json(Path("metrics/models.json"), table)
    for name, row in table.items():
        log(f"  {name}: {format_validation_scores(row)}")


if __name__ == "__main__":
    run_stage(main)
