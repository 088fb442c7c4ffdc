"""The tables that maps leave."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from classifold.analysis.tsne.maps import Map, Sample, choose, map_rows
from classifold.analysis.tsne.picture import draw_maps
from classifold.data.csv_file import write_rows
from classifold.data.pack import Pack

COLUMNS = ("space", "perplexity", "id", "label", "x", "y")


def write_maps(folder: Path, maps: Mapping[str, Sequence[Map]], pack: Pack, sample: Sample) -> None:
    """Write `maps.csv` with every map; the chosen one of each space to `chosen.csv`, `maps.png`.

    Args:
        folder: an existing folder.
        maps: space -> its maps.
        pack: that the images are from.
        sample: the images in the pack.
    """
    everything = [one for found in maps.values() for one in found]
    chosen = [choose(found) for found in maps.values()]
    for name, some in (("maps", everything), ("chosen", chosen)):
        write_rows(folder / f"{name}.csv", map_rows(some, pack, sample), columns=COLUMNS)
    draw_maps(folder / "maps.png", chosen, [pack.classes[label] for label in sample.labels])
