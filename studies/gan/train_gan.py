"""Train a GAN on the training images, and save its generator."""

import shutil
from pathlib import Path

from classifold.data.csv_file import write_rows
from classifold.data.json_file import write_json
from classifold.data.pack import read_pack
from classifold.gan.files import save_generator
from classifold.gan.loop import Grid, fit_gan
from classifold.gan.machine import single_process_machine
from classifold.gan.params import GAN_PARAMS, check_gan_params
from classifold.gan.trainer import GanConfig
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage
from classifold.training.checkpoints import Checkpoint, training_key

PACK = Path("data/augmented/train")
KEPT = Path(".cache/gan/train")  # not among the outputs, which DVC removes before a stage


def main() -> None:
    check_gan_params()
    settings = read_params("train_gan", path=GAN_PARAMS)
    train, policy = read_params("train", f"policies.{settings['online']}")
    machine, precision = single_process_machine(train)
    pack = read_pack(PACK)
    pack = pack if settings["variants"] else pack.originals()
    log(f"  GAN on {machine.device.type}, {precision}, {len(pack.labels):,} images")
    inputs = {"settings": settings, "policy": policy, "train": train, "precision": precision}
    checkpoint = Checkpoint(KEPT / "checkpoint.safetensors", training_key(inputs, PACK))
    fitted = fit_gan(
        pack,
        config=GanConfig.of(settings),
        policy=policy,
        machine=machine,
        checkpoint=checkpoint,
        grid=Grid(KEPT / "grids", **settings["grid"]),
    )

    with new_folder(Path("studies/gan/made/generator")) as folder:
        save_generator(
            folder,
            fitted.generator,
            arguments=settings["generator"],
            classes=pack.classes if settings["conditional"] else [],
            training={"precision": precision, "threads": train["threads"]},
        )
        write_rows(folder / "history.csv", fitted.history, columns=list(fitted.history[0]))
        shutil.copytree(KEPT / "grids", folder / "grids")
    last = {name: value for name, value in fitted.history[-1].items() if name != "epoch"}
    write_json(
        Path("studies/gan/metrics/train_gan.json"),
        {
            "n_images": len(pack.labels),
            "n_epochs": len(fitted.history),
            "n_parameters": fitted.n_parameters,
            **last,
        },
    )
    shutil.rmtree(KEPT)


if __name__ == "__main__":
    run_stage(main)
