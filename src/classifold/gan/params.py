"""The schema of `studies/gan/params.yaml`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from classifold.params.schema.section import BelowOne, Count, Section, Seed
from classifold.params.schema.stack import MAX_FOLDS
from classifold.params.validation import check_params

GAN_PARAMS = Path("studies/gan/params.yaml")


# Each but the generator's first halves or doubles the side of images.
Widths = Annotated[list[Count], Field(min_length=2, max_length=8)]


class GeneratorSizes(Section):
    noise: Count
    embedding: Count
    widths: Widths


class DiscriminatorSizes(Section):
    widths: Widths
    dense: Count


class AdamSettings(Section):
    lr: PositiveFloat
    betas: Annotated[list[BelowOne], Field(min_length=2, max_length=2)]


class GridSize(Section):
    rows: Annotated[int, Field(ge=1, le=100)]
    columns: Annotated[int, Field(ge=1, le=100)]


class TrainGan(Section):
    variants: bool
    online: str
    conditional: bool
    generator: GeneratorSizes
    discriminator: DiscriminatorSizes
    loss: Literal["non_saturating", "hinge"]
    gradient_penalty: NonNegativeFloat
    optimizer: AdamSettings
    ema_decay: Annotated[float, Field(gt=0, lt=1)]
    batch_size: Annotated[int, Field(ge=2)]
    epochs: Count
    grid: GridSize
    seed: Seed


class SampleGan(Section):
    n_images: Count
    model: str
    neighbors: Count
    seed: Seed


class AddGenerated(Section):
    model: str
    folds: Annotated[int, Field(ge=3, le=MAX_FOLDS)]
    generated_per_real: PositiveFloat
    gan_epochs: Count
    seed: Seed


class GanParams(Section):
    train_gan: TrainGan
    sample_gan: SampleGan
    add_generated: AddGenerated


def check_gan_params(path: Path = GAN_PARAMS) -> dict[str, Any]:
    """Check the params of the study as `check_params` checks those of the pipeline."""
    return check_params(path, GanParams)
