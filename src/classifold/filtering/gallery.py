"""Draw examples of the images that the filter excluded, and of duplicates side by side."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import IdentityTransform
from PIL import Image

from classifold.data.csv_file import read_rows
from classifold.data.labels import format_labels
from classifold.pictures.examples import (
    DuplicateGroup,
    Row,
    choose_duplicates,
    choose_excluded,
    choose_groups,
    describe_duplicate,
    duplicate_groups,
    format_measured,
    is_kept,
    shorten,
)
from classifold.pictures.glyphs import FONTS, printable
from classifold.pictures.palette import BLUE, VERMILION
from classifold.pictures.thumbnails import fit_into, open_images

MAX_EXCLUDED = 48
MAX_GROUPS = 16
MAX_PER_GROUP = 6  # fit into one row

# Pixels.
DPI = 100
COLUMNS = 6
CELL = 172  # width of a column
SIDE = 128  # width and height of an image, in pixels
LINE = 13  # height of a line of text, in pixels
MARGIN = 16

POINTS = 7
CHARACTERS = 27  # per line
TITLE_POINTS = 9

KEPT, EXCLUDED, QUIET, INK = BLUE, VERMILION, "#5b6670", "#1d232a"


class _Cell(NamedTuple):
    """An image and the lines below it."""

    image: Image.Image
    lines: list[str]
    color: str  # color of the frame


class _Block(NamedTuple):
    """Cells that stay in one row, below a title."""

    title: str
    cells: list[_Cell]


def draw_galleries(filtered: Path, ingested: Path) -> None:
    """Draw `excluded.png` and `duplicates.png` beside their tables.

    Memory holds one image at a time, and the thumbnails. The same tables and images give the same
    bytes.

    Args:
        filtered: folder with excluded.csv and duplicates.csv.
        ingested: folder of the image table.
    """
    excluded = read_rows(filtered / "excluded.csv")
    chosen = choose_excluded(excluded, max_items=MAX_EXCLUDED)
    images = _thumbnails(ingested, chosen)
    cells = [_Cell(images[row["id"]], _excluded_lines(row), QUIET) for row in chosen]
    title = _excluded_title(excluded, n_shown=len(chosen))
    _draw(filtered / "excluded.png", title, [_Block("", [cell]) for cell in cells])

    groups = duplicate_groups(read_rows(filtered / "duplicates.csv"))
    shown = choose_groups(groups, max_items=MAX_GROUPS)
    duplicates = [choose_duplicates(group, max_items=MAX_PER_GROUP) for group in shown]
    images = _thumbnails(ingested, [row for rows in duplicates for row in rows])
    blocks = [
        _Block(
            group.title(n_shown=len(rows)),
            [_duplicate_cell(images[row["id"]], row) for row in rows],
        )
        for group, rows in zip(shown, duplicates, strict=True)
    ]
    _draw(filtered / "duplicates.png", _duplicates_title(groups, n_shown=len(shown)), blocks)


def _thumbnails(ingested: Path, rows: Iterable[Row]) -> dict[str, Image.Image]:
    images = open_images(ingested, {row["id"] for row in rows}, side=SIDE)
    return {image_id: fit_into(image, side=SIDE) for image_id, image in images}


def _excluded_lines(row: Row) -> list[str]:
    measured = shorten(printable(format_measured(row)), 2 * CHARACTERS)
    reason = row["reason"].replace("_", " ")
    return [_line(_file_name(row)), reason, measured[:CHARACTERS], measured[CHARACTERS:]]


def _duplicate_cell(image: Image.Image, row: Row) -> _Cell:
    lines = [_file_name(row), format_labels(row["label"]), *describe_duplicate(row)]
    return _Cell(image, [_line(text) for text in lines], KEPT if is_kept(row) else EXCLUDED)


def _file_name(row: Row) -> str:
    return row["id"].rpartition("/")[2]


def _line(text: str) -> str:
    return shorten(printable(text), CHARACTERS)


def _excluded_title(excluded: Sequence[Row], *, n_shown: int) -> str:
    if not excluded:
        return "No image was excluded."
    reasons = Counter(row["reason"].replace("_", " ") for row in excluded).most_common()
    counts = ", ".join(f"{number:,} for {reason}" for reason, number in reasons)
    images = "image" if len(excluded) == 1 else "images"
    some = f"; {n_shown} of them shown, of each reason" if n_shown < len(excluded) else ""
    return f"{len(excluded):,} {images} excluded: {counts}{some}"


def _duplicates_title(groups: Sequence[DuplicateGroup], *, n_shown: int) -> str:
    if not groups:
        return "No duplicates were found with these settings of filter.duplicates."
    kinds = Counter(row["kind"] for group in groups for row in group.rows)
    counts = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items()))
    noun = "group" if len(groups) == 1 else "groups"
    some = f"; {n_shown} of them shown" if n_shown < len(groups) else ""
    return f"{len(groups):,} {noun} of duplicates ({counts}){some}"


def _draw(path: Path, title: str, blocks: Sequence[_Block]) -> None:
    """Draw blocks row by row; images are not resampled."""
    rows = list(_rows_of_blocks(blocks))
    head = LINE + 4 if any(block.title for block in blocks) else 0
    n_lines = max((len(cell.lines) for block in blocks for cell in block.cells), default=0)
    row_height = head + SIDE + n_lines * LINE + 2 * MARGIN
    width, height = COLUMNS * CELL + MARGIN, 3 * MARGIN + len(rows) * row_height
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    _write(figure, MARGIN, height - MARGIN, title, points=TITLE_POINTS)
    for number, row in enumerate(rows):
        x, top = MARGIN, height - 3 * MARGIN - number * row_height
        for block in row:
            if block.title:
                ends = (x, x + len(block.cells) * CELL - MARGIN)
                line = Line2D(ends, (top + 4, top + 4), color=QUIET, linewidth=0.7)
                line.set_transform(IdentityTransform())
                figure.add_artist(line)
                _write(figure, x, top, block.title)
            for cell in block.cells:
                _draw_cell(figure, cell, x=x, top=top - head)
                x += CELL
    # No software version in the file: the same images give the same bytes.
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _rows_of_blocks(blocks: Sequence[_Block]) -> Iterator[list[_Block]]:
    """Fill rows of `COLUMNS` cells with whole blocks."""
    row: list[_Block] = []
    for block in blocks:
        if sum(len(other.cells) for other in row) + len(block.cells) > COLUMNS:
            yield row
            row = []
        row.append(block)
    if row:
        yield row


def _draw_cell(figure: Figure, cell: _Cell, *, x: int, top: int) -> None:
    """Draw an image on the lower edge of its square, in a frame, and its lines below."""
    bottom = top - SIDE
    figure.figimage(np.asarray(cell.image), xo=x, yo=bottom, origin="upper")
    corner, sides = (x - 1, bottom - 1), (cell.image.width + 2, cell.image.height + 2)
    # Behind the image (whose zorder is 0), so that it hides no pixels.
    frame = Rectangle(corner, *sides, color=cell.color, linewidth=0, zorder=-1)
    frame.set_transform(IdentityTransform())
    figure.add_artist(frame)
    for number, line in enumerate(cell.lines):
        color = INK if number == 0 else QUIET
        _write(figure, x, bottom - 5 - number * LINE, line, color=color)


def _write(
    figure: Figure, x: int, top: int, text: str, *, points: int = POINTS, color: str = INK
) -> None:
    # No math text: a file may be named $x$.
    figure.text(
        x,
        top,
        text,
        transform=IdentityTransform(),
        verticalalignment="top",
        fontfamily=FONTS,
        fontsize=points,
        color=color,
        parse_math=False,
    )
