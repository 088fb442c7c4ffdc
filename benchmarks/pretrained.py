"""Top-1 accuracy of published 1,000-class networks on validation images of Tiny ImageNet.

    python benchmarks/pretrained.py tiny-imagenet-40.zip

It shows that the weights of the packages fit timm's networks, and that `normalize: pretrained`
gives the input that they were trained for. The networks are unchanged, head included; of their
1,000 logits those of the archive's classes are compared. The images, of 64 pixels, are enlarged.
ImageNet's training set contains such images: this is no estimate of the accuracy on new ones.
"""

import argparse
import io
import zipfile

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo

from classifold.evaluation.intervals import accuracy_interval
from classifold.models.filling import fill_network, renamed_in_order
from classifold.models.inference import predict_logits
from classifold.models.model_file import pretrained_input
from classifold.models.weights import PACKAGES, find_weights


def read_validation(archive: str) -> tuple[np.ndarray, list[str]]:
    """Read the official validation images, uint8 (N, 64, 64, 3), and their WordNet ids."""
    with zipfile.ZipFile(archive) as file:
        (listed,) = (name for name in file.namelist() if name.endswith("val_annotations.txt"))
        folder = listed.rpartition("/")[0]
        rows = [line.split("\t")[:2] for line in file.read(listed).decode().splitlines()]
        images = [
            np.asarray(Image.open(io.BytesIO(file.read(f"{folder}/images/{name}"))).convert("RGB"))
            for name, _ in rows
        ]
    return np.stack(images), [wnid for _, wnid in rows]


def published_network(package: str) -> torch.nn.Module:
    """Build the network of a package with all of its weights, the 1,000-class head included."""
    name = PACKAGES[package].network
    network = timm.create_model(name)
    weights = find_weights({"package": package}, publisher=None, name=name)
    tensors = renamed_in_order(weights.tensors, network.state_dict())
    fill_network(network, tensors, source=package)
    return network.eval().to(memory_format=torch.channels_last)


def main() -> None:
    """Print the accuracy of each package's network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", help="tiny-imagenet-40.zip, or the whole Tiny ImageNet")
    images, wnids = read_validation(parser.parse_args().archive)
    classes = sorted(set(wnids))
    columns = [ImageNetInfo().label_names().index(wnid) for wnid in classes]
    labels = np.array([classes.index(wnid) for wnid in wnids])
    print(f"{len(labels):,} images of {len(classes)} classes")
    for package, known in PACKAGES.items():
        arguments = {"name": known.network, "weights": {"package": package}}
        expected = pretrained_input("timm", arguments)
        logits = predict_logits(
            published_network(package),
            images,
            image_size=expected.image_size,
            normalize=expected.normalize,
            device=torch.device("cpu"),
        )
        n_correct = int((logits[:, columns].argmax(1) == labels).sum())
        low, high = accuracy_interval(n_correct, len(labels))
        print(
            f"{package}, {expected.image_size} px: top-1 {n_correct / len(labels):.1%} "
            f"(95 % interval: {low:.1%} to {high:.1%})"
        )


if __name__ == "__main__":
    main()
