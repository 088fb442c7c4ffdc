"""Stage `explain`: show on which pixels predictions depend, and the nearest training images."""

from pathlib import Path

from classifold.analysis.explain.boxes import read_boxes
from classifold.analysis.explain.explanations import (
    choose_images,
    explain_images,
    explanation_metrics,
)
from classifold.analysis.explain.neighbors import (
    COLUMNS,
    find_neighbors,
    neighbor_metrics,
    neighbor_rows,
)
from classifold.analysis.explain.novelty import NOVELTY_COLUMNS, measure_novelty, summarize_novelty
from classifold.analysis.explain.pictures import draw_explanations, draw_layers, draw_neighbors
from classifold.analysis.features.compute import compute_features
from classifold.analysis.features.training_images import load_training_images
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

INGESTED = Path("data/ingested")


def main() -> None:
    settings, device_name = read_params("explain", "train.device")
    del settings["model"]  # compare selected it
    n_images, layers = (settings.pop(key) for key in ("images", "layers"))
    name, model = load_explained_model(Path("data/explained_model"))
    train = load_training_images(Path("data/novelty"))
    predictions = read_predictions(Path("data/evaluated/predictions.parquet"), model=name)
    model.use_threads()
    device = choose_device(device_name)

    resized = {"size": model.preprocessing["pack_size"], "resize": model.preprocessing["resize"]}
    chosen = choose_images(predictions, n_images=n_images)
    reason = None if chosen else "there are no test images"
    ids = [row["id"] for row in chosen]
    pixels = load_pixels(INGESTED, ids, **resized)
    explanations = explain_images(
        model,
        chosen,
        pixels,
        boxes=read_boxes(INGESTED, ids),
        device=device,
        attribution=settings,
    )
    nearest = train.nearest(compute_features(model, pixels, device=device))
    neighbors = find_neighbors(nearest, train, ingested=INGESTED, **resized)
    neighbor_table = neighbor_rows(chosen, neighbors)
    novelty_table = measure_novelty(
        predictions,
        model,
        train,
        ingested=INGESTED,
        device=device,
        seed=settings["seed"],
    )

    with new_folder(Path("data/explained")) as folder:
        write_rows(folder / "chosen.csv", chosen, columns=SCHEMA.names)
        write_rows(folder / "neighbors.csv", neighbor_table, columns=COLUMNS)
        write_rows(folder / "novelty.csv", novelty_table, columns=NOVELTY_COLUMNS)
        if reason:
            for picture in ("explanations", "neighbors"):
                draw_reason(folder / f"{picture}.png", reason)
        else:
            draw_explanations(folder / "explanations.png", explanations)
            draw_neighbors(folder / "neighbors.png", explanations, neighbors)
            draw_layers(folder, explanations, **layers)
    metrics = explanation_metrics(explanations, model=name)
    metrics |= neighbor_metrics(neighbor_table, train)
    metrics |= summarize_novelty(novelty_table, train)
    write_metrics(Path("metrics/explain.json"), metrics, reason=reason)


if __name__ == "__main__":
    run_stage(main)
