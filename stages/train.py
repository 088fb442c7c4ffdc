"""Stage `train@<name>`: train one network of `models`, and keep its best epoch."""

from pathlib import Path

import numpy as np

from classifold.csv_file import write_rows
from classifold.device import choose_device, choose_precision, set_threads
from classifold.folders import new_folder
from classifold.inference import predict_logits
from classifold.logits_file import Logits, save_logits
from classifold.metrics_file import write_json
from classifold.model_file import build_network, save_model
from classifold.pack import read_pack
from classifold.params import read_params
from classifold.progress import say
from classifold.seeding import seed_torch
from classifold.stage import run_stage
from classifold.training.description import describe_training, training_metrics
from classifold.training.loop import HISTORY_COLUMNS, fit, score_logits


def main(name: str) -> None:
    machine, model = read_params("train", f"models.{name}")
    policy = read_params(f"policies.{model['online']}")
    set_threads(machine["threads"])
    device = choose_device(machine["device"])
    precision = choose_precision(machine["precision"], device)
    train = read_pack(Path("data/augmented/train"))
    validation = read_pack(Path("data/augmented/validation"))
    size = {"image_size": model["image_size"], "normalize": model["normalize"]}

    seed_torch(model["seed"], "weights")
    network = build_network(
        model["network"],
        n_classes=len(train.classes),
        image_size=model["image_size"],
        arguments=model["arguments"],
    ).to(device)
    say(f"  {name} on {device.type}, {precision}, {len(train.labels):,} images")
    fitted = fit(
        network,
        train,
        validation,
        phases=model["phases"],
        batch_size=model["batch_size"],
        seed=model["seed"],
        policy=policy,
        device=device,
        precision=precision,
        **size,
    )
    originals = train.originals()
    train_logits = predict_logits(network, originals.images, device=device, **size)
    logits = predict_logits(network, validation.images, device=device, **size)

    with new_folder(Path("models") / name) as folder:
        save_model(
            folder,
            network,
            network=model["network"],
            arguments=model["arguments"],
            classes=train.classes,
            preprocessing={"pack_size": train.size, "resize": train.resize, **size},
            training=describe_training(originals, precision=precision, threads=machine["threads"]),
        )
        write_rows(folder / "history.csv", fitted.history, columns=HISTORY_COLUMNS)
        save_logits(
            folder / "validation.npz",
            Logits(np.array(validation.ids), validation.labels, logits),
        )
    metrics = training_metrics(
        network,
        fitted,
        train=score_logits(train_logits, originals.labels),
        validation=score_logits(logits, validation.labels),
    )
    write_json(Path("metrics/train") / f"{name}.json", metrics)
    say(f"  {name}: validation accuracy {metrics['validation_accuracy']:.4f}")


if __name__ == "__main__":
    run_stage(main)
