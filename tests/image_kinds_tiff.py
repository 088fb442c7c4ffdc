"""The scene in every kind of TIFF that is read, and turned in every way."""

import itertools

import numpy as np
from PIL import Image

from classifold.data.orientation import ORIENTATION_TAG
from image_scene import (
    ALPHA,
    GRAY,
    INK,
    RGB,
    RGBA,
    TURNS,
    WIDE,
    Kind,
    exif_of,
    over_white,
    pillow,
    three,
    tiff,
    to_rgb,
)

GRAY_ALPHA = {"photometric": "minisblack", "planarconfig": "contig"}


def tiff_kinds():
    """8-bit TIFF: layouts, compressions, channels, bits."""
    planes = np.moveaxis(RGB, 2, 0)
    palette = Image.fromarray(RGB).quantize(30)
    premultiplied = np.rint(RGB * (ALPHA[..., None] / 255)).astype(np.uint8)
    for compression in (None, "lzw", "zlib", "packbits", "lzma", "zstd"):
        options = {"predictor": True} if compression in ("lzw", "zlib") else {}
        for tile, order in itertools.product((None, (16, 16)), "<>"):
            encoded = tiff(RGB, compression=compression, tile=tile, byteorder=order, **options)
            yield Kind(f"TIFF {compression} {tile} {order}", encoded, RGB)
    for options in ({}, {"compression": "lzw", "predictor": True}, {"tile": (16, 16)}):
        encoded = tiff(planes, planarconfig="separate", **options)
        yield Kind(f"TIFF planes {options}", encoded, RGB)
    over_white_already = premultiplied + (255 - ALPHA[..., None])
    for extra, values, expected in (
        ("unassalpha", RGBA, over_white(RGB, ALPHA)),
        ("unspecified", RGBA, RGB),
        ("assocalpha", np.dstack([premultiplied, ALPHA]), over_white_already),
    ):
        yield Kind(f"TIFF RGB and {extra}", tiff(values, extrasamples=[extra]), expected, 3)
        if extra != "unspecified":
            encoded = tiff(values[..., [0, 3]], **GRAY_ALPHA, extrasamples=[extra])
            gray = three(expected[..., 0])
            yield Kind(f"TIFF gray and {extra}", encoded, gray, 3)
    for bits in (1, 2, 4):
        few, top = GRAY >> (8 - bits), 2**bits - 1
        gray = three(few.astype(int) * 255 // top)
        yield Kind(f"TIFF {bits} bits", tiff(few, bitspersample=bits), gray)
        inverted = tiff(few, bitspersample=bits, photometric="miniswhite")
        yield Kind(f"TIFF {bits} bits, white is zero", inverted, 255 - gray)
    yield Kind("TIFF white is zero", tiff(GRAY, photometric="miniswhite"), 255 - three(GRAY))
    yield Kind("BigTIFF", tiff(RGB, bigtiff=True), RGB)
    yield Kind("TIFF of two pages", tiff(np.stack([RGB, 255 - RGB])), RGB)
    yield Kind("TIFF palette", pillow(palette, "TIFF"), to_rgb(palette))
    inks = Image.fromarray(INK, "CMYK")
    yield Kind("TIFF CMYK", pillow(inks, "TIFF"), to_rgb(inks))
    for name in ("group3", "group4", "tiff_ccitt"):
        black = pillow(Image.fromarray(GRAY > 100), "TIFF", compression=name)
        yield Kind(f"TIFF {name}", black, three(np.where(GRAY > 100, 255, 0)))
    smooth = np.dstack([GRAY, GRAY, GRAY])
    yield Kind("TIFF JPEG", pillow(smooth, "TIFF", compression="jpeg"), smooth, 12)


def deep_tiff_kinds():
    """TIFF of more than 8 bits, signed and float."""
    for (name, factor), compression, tile, order in itertools.product(
        WIDE.items(), (None, "lzw", "zlib", "packbits", "lzma", "zstd"), (None, (16, 16)), "<>"
    ):
        options = {"compression": compression, "tile": tile, "byteorder": order}
        if compression in ("lzw", "zlib", "zstd"):
            options["predictor"] = True
        for values, expected in ((GRAY, three(GRAY)), (RGB, RGB)):
            encoded = tiff(values.astype(name) * np.array(factor, name), **options)
            yield Kind(f"TIFF {name} {values.ndim} {compression} {tile} {order}", encoded, expected)
    for name, order, predictor in itertools.product(
        ("float16", "float32", "float64"), "<>", (None, 3)
    ):
        for values, expected in ((GRAY, three(GRAY)), (RGB, RGB)):
            scaled = (values / 255).astype(name)
            encoded = tiff(scaled, compression="zlib", predictor=predictor, byteorder=order)
            yield Kind(f"TIFF {name} {values.ndim} {order} {predictor}", encoded, expected, 1)
    for bits in (10, 12, 14):
        top = 2**bits - 1
        values = np.rint(RGB.astype(float) * top / 255).astype(np.uint16)
        expected = np.rint(values * (255 / top)).astype(np.uint8)
        yield Kind(f"TIFF {bits} bits RGB", tiff(values, bitspersample=bits), expected)
        gray = tiff(values[..., 0], bitspersample=bits)
        yield Kind(f"TIFF {bits} bits gray", gray, three(expected[..., 0]))
    deep, signed = GRAY.astype(np.uint16) * 257, GRAY.astype(np.int32) * 257 - 32768
    yield Kind("TIFF int16", tiff(signed.astype(np.int16)), three(GRAY))
    yield Kind("TIFF int8", tiff((GRAY.astype(int) - 128).astype(np.int8)), three(GRAY))
    inverted = tiff(deep, photometric="miniswhite")
    yield Kind("TIFF uint16, white is zero", inverted, 255 - three(GRAY))
    planes = np.moveaxis(RGB.astype(np.uint16) * 257, 2, 0)
    for options in ({}, {"compression": "lzw", "predictor": True}, {"tile": (16, 16)}):
        encoded = tiff(planes, photometric="rgb", planarconfig="separate", **options)
        yield Kind(f"TIFF uint16 planes {options}", encoded, RGB)
    wide = RGBA.astype(np.uint16) * 257
    alpha = tiff(wide, extrasamples=["unassalpha"])
    yield Kind("TIFF uint16 RGBA", alpha, over_white(RGB, ALPHA), 1)
    yield Kind("TIFF uint16 RGBx", tiff(wide, extrasamples=["unspecified"]), RGB)
    gray_alpha = tiff(wide[..., [0, 3]], **GRAY_ALPHA, extrasamples=["unassalpha"])
    yield Kind("TIFF uint16 gray and alpha", gray_alpha, over_white(three(GRAY), ALPHA), 1)
    bands = tiff(wide[..., :3], **GRAY_ALPHA)
    yield Kind("TIFF uint16 of three bands", bands, RGB)
    inks = tiff(INK.astype(np.uint16) * 257, photometric="separated")
    yield Kind("TIFF uint16 CMYK", inks, to_rgb(Image.fromarray(INK, "CMYK")))
    yield Kind("BigTIFF uint16", tiff(deep, bigtiff=True), three(GRAY))
    pages = np.stack([deep, 65535 - deep])
    for name, options in (("two pages", {}), ("ImageJ", {"imagej": True})):
        encoded = tiff(pages, photometric="minisblack", **options)
        yield Kind(f"TIFF uint16 of {name}", encoded, three(GRAY))


def turned_kinds():
    """Each EXIF orientation in each format that has EXIF."""
    deep = RGB.astype(np.uint16) * 257
    options = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "PNG": {},
        "TIFF": {},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }
    for orientation, turn in TURNS.items():
        for file_format, settings in options.items():
            encoded = pillow(RGB, file_format, exif=exif_of(orientation), **settings)
            tolerance = 6 if file_format in ("JPEG", "AVIF") else 0
            yield Kind(f"{file_format} orientation {orientation}", encoded, turn(RGB), tolerance)
        tag = (ORIENTATION_TAG, 3, 1, orientation, True)
        encoded = tiff(deep, extratags=[tag])
        yield Kind(f"TIFF uint16 orientation {orientation}", encoded, turn(RGB))
        encoded = pillow(deep[..., 0].copy(), "PNG", exif=exif_of(orientation))
        yield Kind(f"PNG 16 orientation {orientation}", encoded, turn(three(GRAY)))
