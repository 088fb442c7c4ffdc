"""Stage `explain`: show on which pixels predictions for test images depend."""

from pathlib import Path

from classifold.analysis.explain.boxes import read_boxes
from classifold.analysis.explain.explanations import (
    choose_images,
    explain_images,
    explanation_metrics,
)
from classifold.analysis.explain.pictures import draw_explanations, draw_layers
from classifold.data.csv_file import write_rows
from classifold.data.metrics_file import write_metrics
from classifold.data.pixels import load_pixels
from classifold.data.predictions import SCHEMA, read_predictions
from classifold.models.device import choose_device
from classifold.models.explained_model import load_explained_model
from classifold.params.reader import read_params
from classifold.pictures.reason import draw_reason
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.stage import run_stage


def main() -> None:
    settings, device = read_params("explain", "train.device")
    del settings["model"]  # compare selected it
    n_images, layers = (settings.pop(key) for key in ("images", "layers"))
    name, model = load_explained_model(Path("data/explained_model"))
    predictions = read_predictions(Path("data/evaluated/predictions.parquet"), model=name)
    model.use_threads()

    ingested = Path("data/ingested")
    chosen = choose_images(predictions, n_images=n_images)
    ids = [row["id"] for row in chosen]
    pixels = load_pixels(
        ingested,
        ids,
        size=model.preprocessing["pack_size"],
        resize=model.preprocessing["resize"],
    )
    explanations = explain_images(
        model,
        chosen,
        pixels,
        boxes=read_boxes(ingested, ids),
        device=choose_device(device),
        attribution=settings,
    )

    reason = None if explanations else "there are no test images"
    with new_folder(Path("data/explained")) as folder:
        write_rows(folder / "chosen.csv", chosen, columns=SCHEMA.names)
        if reason:
            draw_reason(folder / "explanations.png", reason)
        else:
            draw_explanations(folder / "explanations.png", explanations)
            draw_layers(folder, explanations, **layers)
    metrics = explanation_metrics(explanations, model=name)
    write_metrics(Path("metrics/explain.json"), metrics, reason=reason)


if __name__ == "__main__":
    run_stage(main)
