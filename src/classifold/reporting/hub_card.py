"""Write the model card of a repository on the Hugging Face Hub: metadata and text.

Source of the metadata: https://huggingface.co/docs/hub/model-cards.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from classifold.data.json_file import read_json
from classifold.data.predictions import MAJORITY
from classifold.models.preprocessing import Normalization
from classifold.reporting.formats import MAIN_METRICS
from classifold.reporting.markdown import render_markdown
from classifold.reporting.sections.summary import describe_limit
from classifold.reporting.weights import weights_table

# Keys of `metrics/test.json`, with the names of the Hub.
SCORES = {
    "single": [("accuracy", "accuracy", "Accuracy"), ("macro_f1", "f1", "Macro F1")],
    "multi": [("micro_f1", "f1", "Micro F1"), ("macro_f1", "f1", "Macro F1")],
}

TIMM_URL = re.compile(r"https://huggingface\.co/(timm/[\w.-]+)/")


class HubModel(NamedTuple):
    """What the card describes."""

    name: str  # of the model, or "stack"
    library: str  # that loads it: timm or classifold
    repository: str
    license_id: str | None  # an identifier of the Hub
    task: str
    classes: Sequence[str]
    members: Mapping[str, Mapping[str, Any]]  # model -> content of its model.json
    decision: Mapping[str, Any]
    mirrored: Sequence[tuple[int, ...]]  # dimensions of each view that `evaluate` averages
    shift: int  # pixels by which views are shifted, too
    params: Mapping[str, Any]
    metrics: Path  # folder of the metrics, which may be missing
    agreement: str = ""  # how far predictions by the card's code are from those of Classifold

    @property
    def refitted(self) -> bool:
        """Whether the networks were trained on validation images too."""
        return any("trained_on" in member for member in self.members.values())


def write_hub_card(path: Path, model: HubModel) -> None:
    """Write the card.

    Raises:
        UserError: if the metrics are damaged.
    """
    files = {name: model.metrics / f"{name}.json" for name in ("test", "split")}
    metrics = {name: read_json(file) if file.is_file() else {} for name, file in files.items()}
    tested = metrics["test"].get(model.name, {})
    first = next(iter(model.members.values()))
    preprocessing = first["preprocessing"]
    weights = {name: member.get("weights") for name, member in model.members.items()}
    text = render_markdown(
        "hub_card.md",
        model=model,
        data_set=_data_set(model.params),
        pack_size=preprocessing["pack_size"],
        resize=preprocessing["resize"],
        image_size=preprocessing["image_size"],
        interpolation=Normalization.of(preprocessing["normalize"]).interpolation,
        short_form=describe_limit(model.params["limit"]),
        split=metrics["split"],
        tested=tested if tested.get("n_images") else {},
        baseline=metrics["test"].get(MAJORITY, {}),
        metric=MAIN_METRICS[model.task],
        weights=weights_table(weights).rows,
        versions=first.get("versions", {}),
    )
    metadata = _metadata(model, tested).to_yaml()
    card = f"---\n{metadata}\n---\n\n{text}"
    ModelCard(card)  # raises a ValueError if the Hub's library could not read it
    path.write_text(card, encoding="utf-8")


def _data_set(params: Mapping[str, Any]) -> str:
    return Path(params["dataset"]["path"]).stem


def _metadata(model: HubModel, tested: Mapping[str, Any]) -> ModelCardData:
    """Make the metadata that the Hub reads; scores only of what was evaluated."""
    data_set = _data_set(model.params)
    records = [member.get("weights") or {} for member in model.members.values()]
    found = [TIMM_URL.match(str(record.get("url"))) for record in records]
    bases = sorted({match[1] for match in found if match})
    results = [
        EvalResult(
            task_type="image-classification",
            task_name="Image Classification",
            dataset_type=re.sub(r"[^a-z0-9]+", "-", data_set.lower()).strip("-") or "images",
            dataset_name=data_set,
            dataset_split="test",
            metric_type=metric_type,
            metric_name=name,
            metric_value=tested[key],
        )
        for key, metric_type, name in SCORES[model.task]
        if tested.get("n_images") and not model.refitted and tested.get(key) is not None
    ]
    return ModelCardData(
        license=model.license_id or "unknown",
        library_name=model.library,
        pipeline_tag="image-classification",
        tags=["image-classification", model.library, "classifold"],
        base_model=bases or None,
        metrics=sorted({metric_type for _, metric_type, _ in SCORES[model.task]}),
        model_name=model.repository.split("/")[-1],
        eval_results=results or None,
    )
