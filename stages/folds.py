"""Stage `folds@<name>`: train a network once without each fold, and predict that fold."""

import shutil
from pathlib import Path

from classifold.data.json_file import write_json
from classifold.data.out_of_fold import NO_FOLDS, write_out_of_fold
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import is_rank_zero, log
from classifold.runtime.stage import run_stage
from classifold.training.launch import launch, report_first_failure
from classifold.training.limit import cap_epochs

CHECKPOINTS = Path(".cache/folds")  # outside of the outputs, which DVC removes


@report_first_failure()
def main(name: str) -> None:
    n_folds, seed = read_params("stack.folds", "stack.seed")
    settings, model, max_epochs = read_params("train", f"models.{name}", "limit.epochs")
    policy = read_params(f"policies.{model['online']}")
    result, metrics = NO_FOLDS, {"n_folds": 0, "n_images": 0}
    if n_folds:
        launch(settings, batch_size=model.get("batch_size", 1))
        # Not at the top: without folds, the seconds that the import of torch takes are saved.
        from classifold.training.folds import train_folds  # noqa: PLC0415

        result, metrics = train_folds(
            name,
            settings=settings,
            model=cap_epochs(model, epochs=max_epochs),
            policy=policy,
            packs=Path("data/augmented"),
            n_folds=n_folds,
            seed=seed,
            checkpoints=CHECKPOINTS / name,
        )
    if not is_rank_zero():
        return  # only one process writes

    with new_folder(Path("data/folds") / name) as folder:
        write_out_of_fold(folder, result)
    write_json(Path("metrics/folds") / f"{name}.json", metrics)
    shutil.rmtree(CHECKPOINTS / name, ignore_errors=True)
    log(
        f"  {name}: {metrics['n_images']:,} images predicted in {n_folds} folds"
        if n_folds
        else f"  {name}: nothing to do, since stack.folds is 0"
    )


if __name__ == "__main__":
    run_stage(main)
