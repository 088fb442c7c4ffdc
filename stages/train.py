"""Stage `train@<name>`: train one network of `models`, and keep its best epoch."""

from pathlib import Path

from classifold.data.json_file import write_json
from classifold.data.logits_file import save_logits
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import is_rank_zero, log
from classifold.runtime.stage import run_stage
from classifold.training.launch import launch, report_first_failure
from classifold.training.limit import cap_epochs
from classifold.training.train_model import train_model, write_model

CHECKPOINTS = Path(".cache/checkpoints")  # outside of the outputs, which DVC removes


@report_first_failure()
def main(name: str) -> None:
    settings, model, max_epochs = read_params("train", f"models.{name}", "limit.epochs")
    policy = read_params(f"policies.{model['online']}")
    launch(settings, batch_size=model.get("batch_size", 1))

    trained = train_model(
        name,
        settings=settings,
        model=cap_epochs(model, epochs=max_epochs),
        policy=policy,
        packs=Path("data/augmented"),
        checkpoint=CHECKPOINTS / f"{name}.safetensors",
    )

    if is_rank_zero():  # one process writes
        with new_folder(Path("models") / name) as folder:
            write_model(
                folder,
                trained.training,
                max_epochs=max_epochs,
                history=trained.fitted.history,
                processes=trained.fitted.processes,
            )
            save_logits(folder / "validation.npz", trained.validation)
            if trained.out_of_fold:
                save_logits(folder / "out_of_fold.npz", trained.out_of_fold)
        write_json(Path("metrics/train") / f"{name}.json", trained.metrics)
    trained.checkpoint.remove_everywhere(trained.training.machine)
    log(f"  {name}: {trained.score.describe('validation')}")


if __name__ == "__main__":
    run_stage(main)
