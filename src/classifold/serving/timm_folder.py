"""Write a classifier as timm stores models on the Hugging Face Hub.

timm alone then loads `config.json` and `model.safetensors`, from the Hub by `hf-hub:<repository>`
or from a folder by `local-dir:<folder>`.
"""

import copy
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from classifold.data.json_file import write_json
from classifold.data.model_settings import PROBE
from classifold.models.model_file import Model
from classifold.models.preprocessing import Normalization
from classifold.models.weights_file import save_weights
from classifold.runtime.faults import first_line

# Of timm's description of a network: what adapts its weights to other classes and channels.
KEPT = ("first_conv", "classifier", "fixed_input_size", "min_input_size")


class NotTimmError(Exception):
    """Why timm cannot load a model; the message completes a sentence."""


def write_timm_folder(folder: Path, model: Model, *, temperature: float) -> nn.Module:
    """Write `config.json` and `model.safetensors`, and load them with timm.

    The head is divided by the temperature, so that softmax (or sigmoid) of the logits is the
    calibrated probability.

    Args:
        folder: an existing folder.
        model: the trained model.
        temperature: the divisor of its logits.

    Returns:
        The network as timm loads it, in evaluation mode.

    Raises:
        NotTimmError: if the model is not one of timm's networks with a linear head.
    """
    network: Any = model.network
    if model.description["network"] not in ("timm", PROBE):
        raise NotTimmError(f"{model.description['network']} is not a network of timm")
    if not isinstance(network.head, nn.Linear):
        raise NotTimmError("its head is not a linear layer")
    try:
        native = _with_head(network.backbone, network.head, temperature=temperature)
        save_weights(folder / "model.safetensors", native)
        write_json(folder / "config.json", _config(native, model))
        return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except NotTimmError:
        raise
    except Exception as error:  # each family of timm has its own code, which may raise anything
        raise NotTimmError(f"timm does not load it: {first_line(error)}") from None


def _with_head(backbone: Any, head: nn.Linear, *, temperature: float) -> nn.Module:
    """Give a network of timm without a classifier the trained head as its own classifier."""
    native = copy.deepcopy(backbone)
    native.reset_classifier(head.out_features)
    classifier = native.get_classifier()
    if not isinstance(classifier, nn.Linear) or classifier.weight.shape != head.weight.shape:
        raise NotTimmError("the classifier of this network is not one linear layer in timm")
    with torch.no_grad():
        classifier.weight.copy_(head.weight / temperature)
        classifier.bias.copy_(head.bias / temperature)
    return native


def _config(native: Any, model: Model) -> dict[str, Any]:
    """Describe a network and its input, in the keys of timm's `config.json`."""
    settings, known = model.preprocessing, native.pretrained_cfg
    size = settings["image_size"]
    mean, std, interpolation = Normalization.of(settings["normalize"])
    same_size = settings["pack_size"] == size  # then the only resize is that of the pack
    return {
        "architecture": model.description["arguments"]["name"],
        "num_classes": len(model.classes),
        "num_features": native.num_features,
        "label_names": model.classes,
        **({"model_args": {"img_size": [size, size]}} if known.get("fixed_input_size") else {}),
        "pretrained_cfg": {
            **{key: known[key] for key in KEPT if key in known},
            "num_classes": len(model.classes),
            "input_size": [3, size, size],
            "mean": list(mean),
            "std": list(std),
            "interpolation": settings["resize"] if same_size else interpolation,
            "crop_pct": 1.0,  # nothing is cropped,
            "crop_mode": "squash",  # and images that are not square are stretched
        },
    }
