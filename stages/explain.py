"""Stage `explain`: show on which pixels answers to test images hang."""

from pathlib import Path

from classifold.analysis.explanations import (
    choose_images,
    draw_explanations,
    explain_images,
    explanation_metrics,
)
from classifold.csv_file import write_rows
from classifold.device import choose_device, set_threads
from classifold.evaluation.predictions import SCHEMA, read_predictions
from classifold.folders import new_folder
from classifold.metrics_file import write_json
from classifold.model_file import load_model
from classifold.params import read_params
from classifold.pixels import load_pixels
from classifold.stage import run_stage


def main() -> None:
    settings, device = read_params("explain", "train.device")
    name, n_images = settings.pop("model"), settings.pop("images")
    predictions = read_predictions(Path("data/evaluated/predictions.parquet"), model=name)
    model = load_model(Path("models") / name)
    set_threads(model.description["threads"])

    chosen = choose_images(predictions, n_images=n_images)
    pixels = load_pixels(
        Path("data/ingested"),
        [row["id"] for row in chosen],
        size=model.preprocessing["pack_size"],
        resize=model.preprocessing["resize"],
    )
    explanations = explain_images(model, chosen, pixels, device=choose_device(device), **settings)

    with new_folder(Path("data/explained")) as folder:
        write_rows(folder / "chosen.csv", chosen, columns=SCHEMA.names)
        if explanations:
            draw_explanations(folder / "explanations.png", explanations)
    metrics = explanation_metrics(explanations, model=name)
    write_json(Path("metrics/explain.json"), metrics)


if __name__ == "__main__":
    run_stage(main)
