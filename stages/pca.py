"""Stage `pca`: principal components of the training images, a colour channel at a time."""

from pathlib import Path

from classifold.analysis.pca import pca_metrics, principal_components, write_components
from classifold.folders import new_folder
from classifold.metrics_file import write_json
from classifold.pack import read_pack
from classifold.params import read_params
from classifold.stage import run_stage


def main() -> None:
    settings = read_params("pca")
    train = read_pack(Path("data/augmented/train")).originals()

    channels = principal_components(train.images, **settings)

    with new_folder(Path("data/pca")) as folder:
        write_components(folder, channels)
    write_json(Path("metrics/pca.json"), pca_metrics(channels, n_images=len(train.images)))


if __name__ == "__main__":
    run_stage(main)
