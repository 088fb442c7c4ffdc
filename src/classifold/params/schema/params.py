"""All sections of `params.yaml`, and the rules between them."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from classifold.params.schema.analysis import Explain, Pca, Tsne
from classifold.params.schema.augment import Augment
from classifold.params.schema.dataset import Dataset, Limit
from classifold.params.schema.evaluate import Evaluate
from classifold.params.schema.filter import Filter
from classifold.params.schema.ingest import Ingest
from classifold.params.schema.models import Model, Probe
from classifold.params.schema.policies import Policy
from classifold.params.schema.robustness import Robustness
from classifold.params.schema.section import BEST, ModelName, Name, Section, require_no_errors
from classifold.params.schema.split import Split
from classifold.params.schema.stack import Stack
from classifold.params.schema.train import Train


class Params(Section):
    """All sections of `params.yaml`."""

    dataset: Dataset
    limit: Limit
    ingest: Ingest
    filter: Filter
    split: Split
    augment: Augment
    train: Train
    policies: dict[Name, Policy]
    models: Annotated[dict[ModelName, Model], Field(min_length=1)]
    stack: Stack
    evaluate: Evaluate
    pca: Pca
    tsne: Tsne
    robustness: Robustness
    explain: Explain

    @model_validator(mode="after")
    def _check_across_sections(self) -> Self:
        require_no_errors([*self._errors_of_models(), *self._errors_of_references()])
        return self

    def _errors_of_models(self) -> Iterator[str]:
        """Name models whose folders would be one, unsuitable settings, and unknown policies."""
        by_file: dict[str, str] = {}
        for name in self.models:
            other = by_file.setdefault(name.lower(), name)
            if other != name:
                yield (
                    f"models.{name}: must differ from {other} in more than upper and lower case, "
                    "since some file systems take their folders for one. Rename it"
                )
        for name, model in self.models.items():
            if model.online not in self.policies:
                yield (
                    f"models.{name}.online: must be one of the policies "
                    f"{', '.join(self.policies)}, got {model.online!r}"
                )
            if isinstance(model, Probe):
                if model.online in self.policies and self.policies[model.online].steps:
                    yield (
                        f"models.{name}.online: must be a policy without steps for network "
                        f"{model.network}, whose images are not augmented on the fly, got "
                        f"{model.online!r}"
                    )
                continue
            if self.dataset.task == "multi" and model.loss and model.loss.name == "cross_entropy":
                yield (
                    f"models.{name}.loss: must be binary_cross_entropy (the default), "
                    "mean_squared_error or focal for several labels per image (dataset.task: "
                    "multi), got cross_entropy, whose classes are mutually exclusive"
                )
            for phase_name, phase in model.phases.items():
                if self.dataset.task == "single" and phase.stop and phase.stop.metric == "micro_f1":
                    yield (
                        f"models.{name}.phases.{phase_name}.stop.metric: must be accuracy or loss "
                        "for one label per image (dataset.task: single), got micro_f1, which "
                        "equals accuracy"
                    )

    def _errors_of_references(self) -> Iterator[str]:
        """Name unknown models, and values that do not suit those of other sections."""
        models = ", ".join(self.models)
        if self.explain.model not in {BEST, *self.models}:
            yield (
                f"explain.model: must be {BEST} or one of the models {models}, got "
                f"{self.explain.model!r}"
            )
        if self.evaluate.test_time.shift >= self.augment.size:
            yield (
                f"evaluate.test_time.shift: must be < augment.size ({self.augment.size} pixels), "
                f"got {self.evaluate.test_time.shift}"
            )
        if self.stack.members != "all":
            if len(set(self.stack.members)) < len(self.stack.members):
                yield f"stack.members: must name each model once, got {self.stack.members}"
            for member in dict.fromkeys(self.stack.members):
                if member not in self.models:
                    yield f"stack.members: must be all or a list of {models}, got {member!r}"
