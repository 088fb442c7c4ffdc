"""The whole of `params.yaml`, and the rules between its sections."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from classifold.params.schema.analysis import Explain, Pca, Tsne
from classifold.params.schema.augment import Augment
from classifold.params.schema.dataset import Dataset, Limit
from classifold.params.schema.evaluate import Evaluate
from classifold.params.schema.filter import Filter
from classifold.params.schema.ingest import Ingest
from classifold.params.schema.models import Model
from classifold.params.schema.policies import Policy
from classifold.params.schema.section import ModelName, Name, Section
from classifold.params.schema.split import Split
from classifold.params.schema.stack import Stack
from classifold.params.schema.train import Train


class Params(Section):
    """The whole of `params.yaml`."""

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
    explain: Explain

    @model_validator(mode="after")
    def _names_known_models(self) -> Self:
        listed = ", ".join(self.models)
        for name, model in self.models.items():
            if model.online not in self.policies:
                raise ValueError(
                    f"models.{name}.online must be one of the policies "
                    f"({', '.join(self.policies)}), got '{model.online}'"
                )
            if self.dataset.task == "multi" and model.loss.name == "cross_entropy":
                raise ValueError(
                    f"models.{name}.loss: with several labels an image (dataset.task: multi) it "
                    "must be binary_cross_entropy, mean_squared_error or focal; cross_entropy "
                    "takes classes to exclude one another"
                )
            for phase_name, phase in model.phases.items():
                if self.dataset.task == "single" and phase.stop and phase.stop.metric == "micro_f1":
                    raise ValueError(
                        f"models.{name}.phases.{phase_name}.stop.metric must be accuracy or loss "
                        "for one label an image (dataset.task: single), where micro F1 is accuracy"
                    )
        if self.explain.model not in self.models:
            raise ValueError(
                f"explain.model must be one of the listed models ({listed}), "
                f"got '{self.explain.model}'"
            )
        if self.evaluate.test_time.shift >= self.augment.size:
            raise ValueError(
                "evaluate.test_time.shift must be below augment.size "
                f"({self.augment.size} pixels), got {self.evaluate.test_time.shift}"
            )
        if self.stack.members != "all":
            if len(set(self.stack.members)) < len(self.stack.members):
                raise ValueError(
                    f"stack.members names a model twice: {', '.join(self.stack.members)}"
                )
            for member in self.stack.members:
                if member not in self.models:
                    raise ValueError(
                        f"stack.members must be 'all' or listed models ({listed}), got '{member}'"
                    )
        return self
