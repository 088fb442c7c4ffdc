"""Section `robustness`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from classifold.params.schema.section import Count, Section, Seed, check_unique

NumberOfImages = Annotated[int, Field(ge=0, le=100_000)]

Corruption = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
]


class Adversarial(Section):
    """Adversarial attacks: perturbation bounds `epsilons` in gray levels of 255 (L-infinity)."""

    images: NumberOfImages
    epsilons: Annotated[
        list[Annotated[int, Field(ge=1, le=64)]],
        Field(min_length=1, max_length=16),
        AfterValidator(check_unique),
    ]
    steps: Annotated[Count, Field(le=1000)]


class Robustness(Section):
    """Section `robustness`."""

    images: NumberOfImages
    corruptions: (
        Literal["all"]
        | Annotated[list[Corruption], Field(min_length=1), AfterValidator(check_unique)]
    )
    severities: Annotated[
        list[Annotated[int, Field(ge=1, le=5)]],
        Field(min_length=1),
        AfterValidator(check_unique),
    ]
    adversarial: Adversarial
    seed: Seed
