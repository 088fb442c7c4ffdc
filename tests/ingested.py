"""Ingest a folder or an archive, and compare the counts with the files that it leaves."""

from classifold.data.csv_file import read_rows
from classifold.data.image_table import iter_columns
from classifold.ingest.detection import open_source
from classifold.ingest.ingestion import ingest

WHITE = (255, 255, 255)


def ingest_all(path, folder, *, layout="auto", task="single", fraction=1.0, count=0, **settings):
    """Ingest into a folder, which may be new; returns the counts."""
    folder.mkdir(parents=True, exist_ok=True)
    settings["max_unreadable"] = {"fraction": fraction, "count": count}
    with open_source(path, layout=layout, task=task, scratch=folder) as (tree, source):
        counts = ingest(tree, source, folder, **{"background": WHITE} | settings)
    listed = read_rows(folder / "unreadable.csv")
    ignored = read_rows(folder / "ignored.csv")
    assert counts["n_files"] == counts["n_images"] + len([*listed, *ignored, *source.used])
    assert (counts["n_unreadable"], counts["n_ignored"]) == (len(listed), len(ignored))
    assert all(row["id"] and row["reason"] for row in (*listed, *ignored))
    ids = [row["id"] for row in iter_columns(folder, ["id"])]
    assert len(ids) == len(set(ids)) == counts["n_images"]
    assert not set(ids) & {row["id"] for row in ignored}
    return counts
