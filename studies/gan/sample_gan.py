"""Generate images with the trained generator, and measure their quality."""

from pathlib import Path

from classifold.data.json_file import write_json
from classifold.data.pack import read_pack
from classifold.gan.files import load_generator, save_images
from classifold.gan.machine import single_process_machine
from classifold.gan.params import GAN_PARAMS, check_gan_params
from classifold.gan.quality import measure_quality
from classifold.gan.sampling import generated_pack
from classifold.gan.trainer import GanConfig, new_generator
from classifold.models.model_file import load_model
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.stage import run_stage


def main() -> None:
    check_gan_params()
    settings, training = read_params("sample_gan", "train_gan", path=GAN_PARAMS)
    machine, _ = single_process_machine(read_params("train"))
    real = read_pack(Path("data/augmented/train")).originals()
    model = load_model(Path("models") / settings["model"])
    model.network.to(machine.device)
    trained = load_generator(Path("studies/gan/made/generator")).network
    first = new_generator(GanConfig.of(training), n_classes=len(real.classes), image_size=real.size)
    generated, untrained = (
        generated_pack(
            network.to(machine.device),
            real,
            settings["n_images"],
            seed=settings["seed"],
            device=machine.device,
        )
        for network in (trained, first)
    )
    quality = measure_quality(
        real,
        generated,
        untrained,
        model=model,
        neighbors=settings["neighbors"],
        seed=settings["seed"],
        device=machine.device,
    )

    with new_folder(Path("studies/gan/made/generated")) as folder:
        save_images(folder, generated)
    write_json(Path("studies/gan/metrics/sample_gan.json"), {"model": settings["model"], **quality})


if __name__ == "__main__":
    run_stage(main)
