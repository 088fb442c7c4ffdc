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
from classifold.data.json_file import write_json
from classifold.data.pixels import load_pixels
from classifold.data.predictions import SCHEMA, read_predictions
from classifold.models.device import choose_device
from classifold.models.model_file import load_model
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.stage import run_stage


def main() -> None:
    settings, device = read_params("explain", "train.device")
    name, n_images, layers = (settings.pop(key) for key in ("model", "images", "layers"))
    predictions = read_predictions(Path("data/evaluated/predictions.parquet"), model=name)
    model = load_model(Path("models") / name)
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

    with new_folder(Path("data/explained")) as folder:
        write_rows(folder / "chosen.csv", chosen, columns=SCHEMA.names)
        if explanations:
            draw_explanations(folder / "explanations.png", explanations)
            draw_layers(folder, explanations, **layers)
    metrics = explanation_metrics(explanations, model=name)
    write_json(Path("metrics/explain.json"), metrics)


if __name__ == "__main__":
    run_stage(main)
