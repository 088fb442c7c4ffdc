"""Write the tables and the picture of t-SNE maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from classifold.analysis.tsne.maps import Map, Sample, choose, map_rows
from classifold.analysis.tsne.picture import draw_maps
from classifold.data.csv_file import write_rows
from classifold.data.pack import Pack

COLUMNS = ("space", "perplexity", "id", "label", "x", "y")


def write_maps(folder: Path, maps: Mapping[str, Sequence[Map]], pack: Pack, sample: Sample) -> None:
    """Write `maps.csv` with every map; the chosen one of each space to `chosen.csv`, `maps.png`.

    Without maps the tables have no rows, and there is no picture.

    Args:
        folder: an existing folder.
        maps: space -> its maps.
        pack: pack of the images.
        sample: the images in the pack.
    """
    every_map = [one for of_space in maps.values() for one in of_space]
    chosen = [choose(of_space) for of_space in maps.values()]
    for name, rows in (("maps", every_map), ("chosen", chosen)):
        points = map_rows(rows, pack, sample)
        write_rows(folder / f"{name}.csv", points, columns=COLUMNS, plotted=True)
    if chosen:
        draw_maps(folder / "maps.png", chosen, [pack.classes[label] for label in sample.labels])
