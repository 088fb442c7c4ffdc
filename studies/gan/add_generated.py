"""Measure, by cross-fitting, how much a classifier gains from generated training images."""

import shutil
from pathlib import Path

from classifold.data.json_file import write_json
from classifold.data.model_settings import with_defaults
from classifold.data.pack import read_pack
from classifold.gan.added_images import Classifier, Gan, add_generated
from classifold.gan.figure import draw_gains
from classifold.gan.gain import compare, write_predictions
from classifold.gan.machine import single_process_machine
from classifold.gan.params import GAN_PARAMS, check_gan_params
from classifold.gan.trainer import GanConfig
from classifold.models.model_file import new_network
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.stage import run_stage
from classifold.training.checkpoints import training_key
from classifold.training.config import TrainingConfig
from classifold.training.folds import assign_folds

PACK = Path("data/augmented/train")
KEPT = Path(".cache/gan/added")  # not among the outputs, which DVC removes before a stage


def main() -> None:
    check_gan_params()
    settings, training = read_params("add_generated", "train_gan", path=GAN_PARAMS)
    train, model = read_params("train", f"models.{settings['model']}")
    gan_policy, policy = (
        read_params(f"policies.{name}") for name in (training["online"], model["online"])
    )
    machine, precision = single_process_machine(train)
    pack = read_pack(PACK)
    originals = pack.originals()
    model = with_defaults(model, size=pack.size, task=pack.task)
    folds = assign_folds(
        originals,
        n_folds=settings["folds"],
        seed=settings["seed"],
        setting="add_generated.folds",
    )
    network = new_network(
        model["network"],
        n_classes=len(pack.classes),
        image_size=model["image_size"],
        arguments=model["arguments"],
        seed=model["seed"],
    )
    inputs = {
        "settings": settings,
        "gan": training,
        "model": model,
        "policies": [gan_policy, policy],
    }
    predictions = add_generated(
        pack,
        folds,
        gan=Gan(
            GanConfig.of(training | {"epochs": settings["gan_epochs"]}),
            gan_policy,
            training["variants"],
            training["grid"],
        ),
        classifier=Classifier(network.to(machine.device), TrainingConfig.of(model), policy),
        generated_per_real=settings["generated_per_real"],
        seed=settings["seed"],
        machine=machine,
        checkpoints=KEPT,
        key=training_key(
            inputs | {"train": train, "precision": precision, "folds": folds.tolist()},
            PACK,
        ),
    )

    compared = compare(predictions, originals.labels)
    with new_folder(Path("studies/gan/made/added")) as folder:
        write_predictions(folder / "predictions.csv", predictions, originals)
        draw_gains(folder / "gains.png", compared)
        shutil.copytree(KEPT / "samples", folder / "samples")
    write_json(
        Path("studies/gan/metrics/add_generated.json"),
        {"model": settings["model"], "n_folds": settings["folds"], **compared},
    )
    shutil.rmtree(KEPT)


if __name__ == "__main__":
    run_stage(main)
