"""Stage `compare`: collect the results of exactly the listed models, and fit their decisions.

It also selects the model that later stages explain.
"""

from pathlib import Path

from classifold.data.json_file import write_json
from classifold.data.model_settings import other_seeds
from classifold.models.explained_model import copy_explained_model, select_model
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage
from classifold.stacking.comparison import compare_models, format_validation_scores
from classifold.stacking.unlisted_models import remove_unlisted


def main() -> None:
    listed, setting, evaluate = read_params("models", "explain.model", "evaluate")
    names = list(listed)
    models, folds, metrics = Path("models"), Path("data/folds"), Path("metrics/train")
    remove_unlisted(
        names,
        folders={models: "model.json", folds: "folds.csv"},
        json_folders=[metrics, *map(Path, ("metrics/folds", "timings/train", "timings/folds"))],
    )

    with new_folder(Path("data/compared")) as folder:
        table = compare_models(
            names,
            folder,
            models=models,
            folds=folds,
            metrics=metrics,
            evaluate=evaluate,
            other_seeds={name: other_seeds(model) for name, model in listed.items()},
        )

    explained = select_model(setting, names, table)
    with new_folder(Path("data/explained_model")) as folder:
        copy_explained_model(folder, explained, models=models)

    write_json(Path("metrics/models.json"), table)
    for name, row in table.items():
        log(f"  {name}: {format_validation_scores(row)}")
    log(f"  tsne and explain use {explained}")


if __name__ == "__main__":
    run_stage(main)
