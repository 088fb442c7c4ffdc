"""Stage `train@<name>`: train one network of `models`, and keep its best epoch."""

from pathlib import Path
from typing import Any

import numpy as np

from classifold.data.csv_file import write_rows
from classifold.data.json_file import write_json
from classifold.data.logits_file import Logits, save_logits
from classifold.models.model_file import save_model
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage
from classifold.training.checkpoints import Checkpoint, training_key
from classifold.training.description import describe_training, training_metrics
from classifold.training.distributed_prediction import predict_distributed
from classifold.training.launch import launch, report_first_failure
from classifold.training.limit import cap_epochs
from classifold.training.loop import fit
from classifold.training.out_of_memory import explain_out_of_memory
from classifold.training.scores import score_logits
from classifold.training.setup import prepare

PACKS = Path("data/augmented")
CHECKPOINTS = Path(".cache/checkpoints")  # outside of the outputs, which DVC removes


@report_first_failure()
def main(name: str) -> None:
    settings, model, max_epochs = read_params("train", f"models.{name}", "limit.epochs")
    launch(settings, batch_size=model["batch_size"])
    model = cap_epochs(model, epochs=max_epochs)
    policy = read_params(f"policies.{model['online']}")
    network, train, validation, recipe, machine, precision, cache = prepare(
        settings, model, packs=PACKS
    )
    params = {"train": settings, "model": model, "policy": policy, "precision": precision}
    checkpoint = Checkpoint(
        CHECKPOINTS / f"{name}.safetensors",
        training_key(params, PACKS, machine),
    )
    log(f"  {name} on {machine.device.type}, {precision}, {len(train.labels):,} images")
    with explain_out_of_memory(name):
        fitted = fit(
            network,
            train,
            validation,
            recipe=recipe,
            policy=policy,
            machine=machine,
            cache=cache,
            checkpoint=checkpoint,
            title=name,
        )
    size: dict[str, Any] = {"image_size": recipe.image_size, "normalize": recipe.normalize}
    originals = train.originals()
    train_logits, logits = (
        predict_distributed(network, pack, machine=machine, body=fitted.body, **size)
        for pack in (originals, validation)
    )
    score = score_logits(logits, validation.labels, loss=recipe.loss)
    if machine.fabric.is_global_zero:  # one process writes
        with new_folder(Path("models") / name) as folder:
            save_model(
                folder,
                network,
                network=model["network"],
                arguments=model["arguments"],
                classes=train.classes,
                preprocessing={
                    "pack_size": train.size,
                    "resize": train.resize,
                    "ranges": train.ranges,
                    **size,
                },
                training=describe_training(
                    originals,
                    loss=recipe.loss,
                    precision=precision,
                    threads=settings["threads"],
                    processes=fitted.processes,
                    max_epochs=max_epochs,
                ),
            )
            write_rows(folder / "history.csv", fitted.history, columns=list(fitted.history[0]))
            save_logits(
                folder / "validation.npz",
                Logits(np.array(validation.ids), validation.labels, logits),
            )
        metrics = training_metrics(
            network,
            fitted,
            train=score_logits(train_logits, originals.labels, loss=recipe.loss),
            validation=score,
        )
        write_json(Path("metrics/train") / f"{name}.json", metrics)
    machine.fabric.barrier()
    if machine.writes_files:
        checkpoint.remove()
    log(f"  {name}: {score.describe('validation')}")


if __name__ == "__main__":
    run_stage(main)
