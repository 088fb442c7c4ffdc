"""Pictures of what the filter found: images left out, and copies side by side."""

import io
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import IdentityTransform
from PIL import Image

from classifold.csv_file import read_rows
from classifold.glyphs import FONTS, printable
from classifold.table import HELD_OUT, LABEL_SEPARATOR, UNLABELLED, iter_images

MOST_LEFT_OUT = 48
MOST_GROUPS = 16
MOST_OF_A_GROUP = 6  # as many as a row holds

# Pixels.
DPI = 100
COLUMNS = 6
CELL = 172  # width of a column
SIDE = 128  # of an image
LINE = 13  # of text
MARGIN = 16

POINTS = 7
LETTERS = 27  # of a line
TITLE_POINTS = 9

KEPT, LEFT_OUT, QUIET, INK = "#0072B2", "#D55E00", "#5b6670", "#1d232a"

Row = Mapping[str, str]
Item = TypeVar("Item")


class CopyGroup(NamedTuple):
    """Images that are copies of one another."""

    rows: list[Row]  # of copies.csv
    labels_differ: bool
    any_near: bool  # some of them look alike and are not equal

    def title(self, *, n_shown: int) -> str:
        """How many there are, whether that troubles, and how many are shown."""
        differ = ", labels differ" if self.labels_differ else ""
        some = f", {n_shown} shown" if n_shown < len(self.rows) else ""
        return f"{len(self.rows):,} copies{differ}{some}"


class _Cell(NamedTuple):
    """An image and what stands below it."""

    image: Image.Image
    lines: list[str]
    colour: str  # of the frame


class _Block(NamedTuple):
    """Cells that stay in one row, under a title."""

    title: str
    cells: list[_Cell]


def draw_galleries(filtered: Path, ingested: Path) -> None:
    """Draw `left_out.png` and `copies.png` beside the tables they show.

    Memory holds one image at a time, and thumbnails. The same tables and images give the same
    bytes.

    Args:
        filtered: folder with excluded.csv and copies.csv.
        ingested: folder of the image table.
    """
    excluded = read_rows(filtered / "excluded.csv")
    chosen = choose_left_out(excluded, most=MOST_LEFT_OUT)
    images = _thumbnails(ingested, chosen)
    cells = [_Cell(images[row["id"]], _left_out_lines(row), QUIET) for row in chosen]
    title = _left_out_title(excluded, n_shown=len(chosen))
    _draw(filtered / "left_out.png", title, [_Block("", [cell]) for cell in cells])

    groups = copy_groups(read_rows(filtered / "copies.csv"))
    shown = choose_groups(groups, most=MOST_GROUPS)
    copies = [choose_copies(group, most=MOST_OF_A_GROUP) for group in shown]
    images = _thumbnails(ingested, [row for rows in copies for row in rows])
    blocks = [
        _Block(group.title(n_shown=len(rows)), [_copy_cell(images[row["id"]], row) for row in rows])
        for group, rows in zip(shown, copies, strict=True)
    ]
    _draw(filtered / "copies.png", _copies_title(groups, n_shown=len(shown)), blocks)


def spread(
    items: Sequence[Item], *, over: Sequence[Callable[[Item], Hashable]], most: int
) -> list[Item]:
    """Choose items, of each kind in turn, so that a frequent kind hides no other.

    Args:
        items: to choose from; of a kind the first are chosen.
        over: what tells kinds apart, the most important first; each is spread over the next.
        most: how many to choose, at most.
    """
    if not over:
        return list(items[:most])
    kinds: dict[Hashable, list[Item]] = {}
    for item in items:
        kinds.setdefault(over[0](item), []).append(item)
    turns = zip_longest(*(spread(kind, over=over[1:], most=most) for kind in kinds.values()))
    return list(islice((item for turn in turns for item in turn if item is not None), most))


def choose_left_out(excluded: Sequence[Row], *, most: int) -> list[Row]:
    """Choose of every reason, and of that of every class; what has one reason comes together."""
    chosen = spread(excluded, over=[itemgetter("reason"), itemgetter("label")], most=most)
    return sorted(chosen, key=itemgetter("reason", "id"))


def copy_groups(copies: Sequence[Row]) -> list[CopyGroup]:
    """Gather the rows of `copies.csv` by their group."""
    groups: dict[str, list[Row]] = {}
    for row in copies:
        groups.setdefault(row["group"], []).append(row)
    return [
        CopyGroup(
            rows=rows,
            # An image that waits for a label contradicts no other.
            labels_differ=len({row["label"] for row in rows if row["part"] != UNLABELLED}) > 1,
            any_near=any(row["kind"] == "near" for row in rows),
        )
        for rows in groups.values()
    ]


def choose_groups(groups: Sequence[CopyGroup], *, most: int) -> list[CopyGroup]:
    """Choose groups with different labels, groups that only look alike, and plain ones."""
    return spread(groups, over=[attrgetter("labels_differ"), attrgetter("any_near")], most=most)


def choose_copies(group: CopyGroup, *, most: int) -> list[Row]:
    """Choose of a large group, of every label and fate, in the order of the group."""
    keys = ("label", "kept", "part", "kind")
    chosen = spread(group.rows, over=[itemgetter(key) for key in keys], most=most)
    ids = {row["id"] for row in chosen}
    return [row for row in group.rows if row["id"] in ids]


def open_images(
    ingested: Path, ids: Collection[str], *, side: int
) -> Iterator[tuple[str, Image.Image]]:
    """Open images of the table, in its order, one at a time.

    Args:
        ingested: folder of the image table.
        ids: of the images wanted.
        side: they will be shrunk to so many pixels; at least twice as many are decoded, if
            there are.
    """
    for image_id, encoded in iter_images(ingested, ids):
        with Image.open(io.BytesIO(encoded)) as image:
            # A JPEG may be decoded at a fraction of its size, many times faster.
            image.draft("RGB", (side * 2, side * 2))
            yield image_id, image.convert("RGB")


def fit_into(image: Image.Image, *, side: int) -> Image.Image:
    """Fit into a square of `side` pixels; proportions stay.

    A small image is enlarged by a whole factor: its pixels stay squares.
    """
    factor = side // max(image.size)
    if factor > 1:
        size = (image.width * factor, image.height * factor)
        return image.resize(size, Image.Resampling.NEAREST)
    scale = min(side / max(image.size), 1)
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2)


def measured_in_words(row: Row) -> str:
    """What was measured of an image left out."""
    words = {
        "size": "is",
        "duplicate": "copy of",
        "conflicting_labels": "labelled",
        "limit": "beyond",
    }
    measured = row["measured"]
    if row["reason"] == "conflicting_labels":
        measured = measured.replace(LABEL_SEPARATOR, ", ")
    return f"{words.get(row['reason'], 'measured')} {measured}"


def labels_in_words(row: Row) -> str:
    """The labels of an image, or that it has none."""
    return row["label"].replace(LABEL_SEPARATOR, ", ") or "no label"


def copy_in_words(row: Row) -> list[str]:
    """What became of a copy, and how equal it is to another of its group."""
    fate = "kept" if is_kept(row) else "left out"
    official = {HELD_OUT: ", official test", UNLABELLED: ", to be labelled"}
    return [f"{fate}{official.get(row['part'], '')}", f"{row['kind']} copy"]


def is_kept(row: Row) -> bool:
    """Whether the filter kept a copy."""
    return row["kept"] == "true"


def shorten(text: str, most: int) -> str:
    """Cut out the middle of a long text: names differ at their ends."""
    if len(text) <= most:
        return text
    n_last = most // 2
    return f"{text[: most - n_last - 1]}…{text[-n_last:]}"


def _thumbnails(ingested: Path, rows: Iterable[Row]) -> dict[str, Image.Image]:
    images = open_images(ingested, {row["id"] for row in rows}, side=SIDE)
    return {image_id: fit_into(image, side=SIDE) for image_id, image in images}


def _left_out_lines(row: Row) -> list[str]:
    measured = shorten(printable(measured_in_words(row)), 2 * LETTERS)
    reason = row["reason"].replace("_", " ")
    return [_line(_file_name(row)), reason, measured[:LETTERS], measured[LETTERS:]]


def _copy_cell(image: Image.Image, row: Row) -> _Cell:
    lines = [_file_name(row), labels_in_words(row), *copy_in_words(row)]
    return _Cell(image, [_line(text) for text in lines], KEPT if is_kept(row) else LEFT_OUT)


def _file_name(row: Row) -> str:
    return row["id"].rpartition("/")[2]


def _line(text: str) -> str:
    return shorten(printable(text), LETTERS)


def _left_out_title(excluded: Sequence[Row], *, n_shown: int) -> str:
    if not excluded:
        return "No image was left out."
    reasons = Counter(row["reason"].replace("_", " ") for row in excluded).most_common()
    told = ", ".join(f"{number:,} for {reason}" for reason, number in reasons)
    images = "image" if len(excluded) == 1 else "images"
    some = f"; {n_shown} of them shown, of every reason" if n_shown < len(excluded) else ""
    return f"{len(excluded):,} {images} left out: {told}{some}"


def _copies_title(groups: Sequence[CopyGroup], *, n_shown: int) -> str:
    if not groups:
        return "No copies were found, as filter.duplicates looks for them."
    kinds = Counter(row["kind"] for group in groups for row in group.rows)
    told = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items()))
    noun = "group" if len(groups) == 1 else "groups"
    some = f"; {n_shown} of them shown" if n_shown < len(groups) else ""
    return f"{len(groups):,} {noun} of copies ({told}){some}"


def _draw(path: Path, title: str, blocks: Sequence[_Block]) -> None:
    """Draw blocks row by row, a pixel of an image on a pixel of the picture."""
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
    # Behind the image (an image's zorder is 0), whose own edges so stay.
    frame = Rectangle(corner, *sides, color=cell.colour, linewidth=0, zorder=-1)
    frame.set_transform(IdentityTransform())
    figure.add_artist(frame)
    for number, line in enumerate(cell.lines):
        colour = INK if number == 0 else QUIET
        _write(figure, x, bottom - 5 - number * LINE, line, colour=colour)


def _write(
    figure: Figure, x: int, top: int, text: str, *, points: int = POINTS, colour: str = INK
) -> None:
    # No mathematics: a file may be called $x$.
    figure.text(
        x,
        top,
        text,
        transform=IdentityTransform(),
        verticalalignment="top",
        fontfamily=FONTS,
        fontsize=points,
        color=colour,
        parse_math=False,
    )
