"""Damaged images of all formats and damaged archives are read or listed, without a crash."""

import io
import random
import tarfile
import zipfile
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from classifold.data.csv_file import read_rows
from classifold.data.image_table import iter_columns, iter_images
from classifold.data.pixels import rgb_pixels
from classifold.errors import UserError
from classifold.ingest.tree import open_tree
from image_scene import pillow
from ingested import ingest_all

EXTENSION_OF_FORMAT = {
    "JPEG": "jpg",
    "PNG": "png",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
    "WEBP": "webp",
    "PPM": "ppm",
    "TGA": "tga",
    "ICO": "ico",
    "JPEG2000": "jp2",
    "AVIF": "avif",
    "PCX": "pcx",
    "QOI": "qoi",
    "SGI": "sgi",
    "DIB": "dib",
}
MODES = ("RGB", "L", "P", "RGBA", "1", "I;16", "CMYK")
N_DAMAGED = 6000


def scene(mode):
    coarse = np.random.default_rng(len(mode)).integers(0, 256, (5, 4, 3), np.uint8)
    image = Image.fromarray(coarse).resize((24, 19))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


def samples():
    """Intact files of every format and mode that can be written."""
    whole = {}
    for file_format in EXTENSION_OF_FORMAT:
        options = {"speed": 10} if file_format == "AVIF" else {}
        for mode in MODES:
            with suppress(OSError, KeyError, ValueError):  # this format has no such mode
                whole[file_format, mode] = pillow(scene(mode), file_format, **options)
    for file_format in ("TIFF", "GIF", "PNG", "WEBP"):
        more = {"compression": "tiff_lzw"} if file_format == "TIFF" else {}
        more |= {"save_all": True, "append_images": [scene("RGB").convert("L")]}
        whole[file_format, "frames"] = pillow(scene("L"), file_format, **more)
    return whole


def damaged_copy(content, chance, others):
    """A copy with one to three errors."""
    content = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(content) or 1)
        head = chance.randrange(min(64, len(content) or 1))  # the header with size and mode
        match chance.randrange(7):
            case 0:
                del content[at:]
            case 1:
                for place in (at, head):
                    content[place : place + 1] = bytes([chance.randrange(256)])
            case 2:
                content[head : head + 1] = bytes([chance.choice([0, 1, 127, 128, 255])])
            case 3:
                content[at:at] = chance.randbytes(chance.randint(1, 40))
            case 4:
                content[at : at + 30] = bytes(len(content[at : at + 30]))
            case 5:
                del content[at : at + chance.randint(1, 40)]
            case _:
                content[:head] = chance.choice(others)[:head]
    return bytes(content)


# Pillow warns about invalid metadata in files with intact pixels.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_of_thousands_of_damaged_images_is_decoded_or_listed(tmp_path):
    chance = random.Random(20240607)
    whole = samples()
    assert {file_format for file_format, _ in whole} == set(EXTENSION_OF_FORMAT)
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w") as archive:
        for number in range(N_DAMAGED):
            (file_format, mode), content = chance.choice(list(whole.items()))
            name = f"{file_format}/{mode}-{number}.{EXTENSION_OF_FORMAT[file_format]}"
            archive.writestr(name, damaged_copy(content, chance, list(whole.values())))
        for (file_format, mode), content in whole.items():
            archive.writestr(f"{file_format}/{mode}.{EXTENSION_OF_FORMAT[file_format]}", content)
        names = set(archive.namelist())
    folder = tmp_path / "ingested"
    counts = ingest_all(tmp_path / "damaged.zip", folder, layout="folder")
    rows = {row["id"]: row for row in iter_columns(folder, ["id", "width", "height"])}
    listed = {row["id"]: row["reason"] for row in read_rows(folder / "unreadable.csv")}
    assert set(rows) | set(listed) == names
    assert counts["n_images"] == len(rows) == len(names) - len(listed)
    assert not [name for name in listed if "-" not in name]  # intact files
    assert min(len(rows), len(listed)) > N_DAMAGED / 10  # the damage is neither mild nor total
    for image_id, image in iter_images(folder, rows):
        row = rows[image_id]
        assert rgb_pixels(image).shape == (row["height"], row["width"], 3), image_id
    # Reasons have no memory addresses, so that they are equal in every run.
    assert not [reason for reason in listed.values() if " at 0x" in reason]


def archive_of(kind, chance):
    buffer = io.BytesIO()
    files = {f"cat/{i}.png": chance.randbytes(chance.randint(0, 700)) for i in range(6)}
    files["dog/" + "ü" * 90 + ".png"] = b"a name for which tar needs a header of its own"
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        style = tarfile.PAX_FORMAT if kind == "tar, pax" else tarfile.GNU_FORMAT
        mode = "w:gz" if kind == "tar.gz" else "w"
        with tarfile.open(fileobj=buffer, mode=mode, format=style) as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar, pax", "tar.gz"])
def test_a_damaged_archive_is_one_error_or_has_errors_of_single_files(tmp_path, kind):
    chance = random.Random(kind)
    whole = archive_of(kind, chance)
    path = tmp_path / "archive"
    outcomes = Counter()
    for _ in range(500):
        spoilt = bytearray(damaged_copy(whole, chance, [whole[::-1]]))
        if kind == "zip":  # most errors are in the directory at the end
            list_starts = max(spoilt.find(b"PK\1\2"), 0)
            for _ in range(chance.randint(0, 3)):
                at = chance.randrange(list_starts, len(spoilt) or 1)
                spoilt[at : at + 1] = bytes([chance.choice([0, 1, 255])])
        path.write_bytes(spoilt)
        try:
            with open_tree(path, scratch=tmp_path) as tree:
                for name in tree.names():
                    try:
                        outcomes["read"] += len(tree.read(name)) >= 0
                    except OSError:
                        outcomes["not read"] += 1
        except UserError:
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 10
    assert {file.name for file in tmp_path.iterdir()} == {"archive"}
