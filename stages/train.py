"""Stage `train@<name>`: train one network of `models`, and keep its best epoch."""

from pathlib import Path

from classifold.data.json_file import write_json
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import is_rank_zero, log
from classifold.runtime.stage import run_stage
from classifold.training.launch import launch, report_first_failure
from classifold.training.limit import cap_epochs
from classifold.training.train_model import metrics_of_seeds, train_seeds, write_seeds

CHECKPOINTS = Path(".cache/checkpoints")  # outside of the outputs, which DVC removes


@report_first_failure()
def main(name: str) -> None:
    settings, model, max_epochs = read_params("train", f"models.{name}", "limit.epochs")
    policy = read_params(f"policies.{model['online']}")
    launch(settings, batch_size=model.get("batch_size", 1))

    trained = train_seeds(
        name,
        model=cap_epochs(model, epochs=max_epochs),
        checkpoints=CHECKPOINTS,
        settings=settings,
        policy=policy,
        packs=Path("data/augmented"),
    )

    if is_rank_zero():  # one process writes
        with new_folder(Path("models") / name) as folder:
            write_seeds(folder, trained, max_epochs=max_epochs)
        write_json(Path("metrics/train") / f"{name}.json", metrics_of_seeds(trained))
    for of_seed in trained.values():
        of_seed.checkpoint.remove_everywhere(of_seed.training.machine)
        log(f"  {of_seed.title}: {of_seed.score.describe('validation')}")


if __name__ == "__main__":
    run_stage(main)
