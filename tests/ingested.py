"""Ingest a folder or an archive, and compare the counts with the files that it leaves."""

from classifold.data.csv_file import read_rows
from classifold.data.image_table import iter_columns
from classifold.ingest.detection import open_source
from classifold.ingest.ingestion import ingest

WHITE = (255, 255, 255)


def ingest_all(
    path, folder, *, layout="auto", task="single", background=WHITE, fraction=1.0, count=0
):
    """Ingest into a folder, which may be new; returns the counts."""
    folder.mkdir(exist_ok=True)
    with open_source(path, layout=layout, task=task, scratch=folder) as (tree, source):
        maximum = {"fraction": fraction, "count": count}
        counts = ingest(tree, source, folder, background=background, max_unreadable=maximum)
    listed = read_rows(folder / "unreadable.csv")
    ignored = read_rows(folder / "ignored.csv")
    assert counts["n_files"] == counts["n_images"] + len([*listed, *ignored, *source.used])
    assert (counts["n_unreadable"], counts["n_ignored"]) == (len(listed), len(ignored))
    assert all(row["id"] and row["reason"] for row in (*listed, *ignored))
    ids = [row["id"] for row in iter_columns(folder, ["id"])]
    assert len(ids) == len(set(ids)) == counts["n_images"]
    assert not set(ids) & {row["id"] for row in ignored}
    return counts
