"""Describe a learning curve in sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

from classifold.data.model_settings import WITHOUT_EPOCHS
from classifold.errors import list_names


def describe_fit(curve: Mapping[str, Any]) -> Iterator[str]:
    """Describe the gain of twice as many images, and how the law predicts held-back images."""
    twice, held_back = curve["twice"], curve["held_back"]
    low, high = twice["gain_ci95"]
    yield (
        f"{twice['n_images']:,} training images, twice as many: predicted {twice['score']:.4f}, "
        f"a gain of {twice['gain']:.4f} ({low:.4f} to {high:.4f})"
    )
    low, high = held_back["difference_ci95"]
    yield (
        f"test of the prediction, from at most {held_back['n_fitted_images']:,} images: predicted "
        f"{held_back['predicted']:.4f}, measured {held_back['measured']:.4f}, measured minus "
        f"predicted {held_back['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
    )
    for reason in curve["fit"]["not_identified"]:
        yield f"the fit is not identified: {reason}"


def describe_probe(models: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """State that the curve is that of a probe, if the project trains other models."""
    trained = [name for name, model in models.items() if model["network"] not in WITHOUT_EPOCHS]
    if trained:
        yield (
            f"this is the curve of a probe; {list_names(trained)} train networks, which may gain "
            "more from more images"
        )
