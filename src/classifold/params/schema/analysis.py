"""Sections `pca`, `tsne` and `explain`."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat

from classifold.params.schema.section import Count, Section, Seed


class Pca(Section):
    """Section `pca`."""

    size: Annotated[int, Field(ge=4, le=96)]


class Tsne(Section):
    """Section `tsne`."""

    classes: Count
    images_per_class: Annotated[int, Field(ge=2)]
    perplexities: Annotated[list[PositiveFloat], Field(min_length=1)]
    seed: Seed


class Explain(Section):
    """Section `explain`."""

    model: str
    images: Annotated[int, Field(ge=1, le=64)]
    smooth_samples: Annotated[int, Field(ge=1, le=10_000)]
    smooth_noise: NonNegativeFloat
    integrated_steps: Annotated[int, Field(ge=1, le=10_000)]
    occluded_fraction: Annotated[float, Field(gt=0, lt=1)]
    layers: "Layers"
    seed: Seed


class Layers(Section):
    """Convolutions whose filters and activations are shown, counted from 1."""

    filters_of: Count
    activations_of: Annotated[list[Count], Field(min_length=1)]
