"""One scene in every kind of image file that is read, with the pixels that each must give."""

import io
import itertools
from typing import NamedTuple

import imagecodecs
import numpy as np
import tifffile
from image_files import animated_webp, bmp, gif, ico, pcx, png, sgi, tga
from PIL import Image

from classifold.ingest.deep_image import ORIENTATION_TAG

HEIGHT, WIDTH = 16, 24
Y, X = np.mgrid[:HEIGHT, :WIDTH]
GRAY = (X * 10 + Y).astype(np.uint8)
RGB = np.dstack([GRAY, 255 - GRAY, GRAY // 2 + 40])
ALPHA = (255 - X * 7).astype(np.uint8)
RGBA = np.dstack([RGB, ALPHA])
INK = np.dstack([RGB // 2, GRAY // 4])  # CMYK
WIDE = {"uint16": 257, "uint32": 257 * 65537}  # factors from 8 bits to all bits of a type

# EXIF orientation -> how the stored pixels are turned upright.
TURNS = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels),
}


class Kind(NamedTuple):
    """A file, and the RGB pixels that it must give over white."""

    name: str
    encoded: bytes
    pixels: np.ndarray
    tolerance: int = 0  # of lossy formats, and of the rounding of alpha


def over_white(colors, alpha):
    """Compose RGB pixels over white."""
    opacity = alpha[..., None] / 255
    return np.rint(colors * opacity + 255 * (1 - opacity)).astype(np.uint8)


def three(gray):
    """Repeat a gray channel."""
    return np.dstack([np.asarray(gray).astype(np.uint8)] * 3)


def pillow(image, file_format, **options):
    """Write a file with Pillow."""
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(
        buffer, file_format, **options
    )
    return buffer.getvalue()


def tiff(values, **options):
    """Write a TIFF with tifffile."""
    buffer = io.BytesIO()
    options.setdefault("photometric", "rgb" if values.ndim > 2 else "minisblack")
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def exif_of(orientation):
    """Make EXIF; each file needs its own, since Pillow takes the orientation out for an AVIF."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif


def to_rgb(image):
    """Convert with Pillow, where a format's definition is Pillow's (CMYK without a profile)."""
    return np.asarray(image.convert("RGB"))


def all_kinds():
    """Collect the kinds of all formats."""
    return [
        *tiff_kinds(),
        *deep_tiff_kinds(),
        *png_kinds(),
        *jpeg_kinds(),
        *animated_kinds(),
        *jpeg2000_and_avif_kinds(),
        *bitmap_kinds(),
        *turned_kinds(),
    ]


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
    for name, values, extra, expected in (
        ("RGBA", RGBA, "unassalpha", over_white(RGB, ALPHA)),
        ("RGBx", RGBA, "unspecified", RGB),
        (
            "RGBa",
            np.dstack([premultiplied, ALPHA]),
            "assocalpha",
            premultiplied + (255 - ALPHA[..., None]),
        ),
    ):
        yield Kind(f"TIFF {name}", tiff(values, extrasamples=[extra]), expected, 3)
    for extra in ("unassalpha", "assocalpha"):
        gray = GRAY if extra == "unassalpha" else premultiplied[..., 0]
        expected = (
            over_white(three(GRAY), ALPHA)
            if extra == "unassalpha"
            else three(gray) + (255 - ALPHA[..., None])
        )
        encoded = tiff(
            np.dstack([gray, ALPHA]),
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=[extra],
        )
        yield Kind(f"TIFF gray and {extra}", encoded, expected, 3)
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
    gray_alpha = tiff(
        wide[..., [0, 3]],
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    yield Kind("TIFF uint16 gray and alpha", gray_alpha, over_white(three(GRAY), ALPHA), 1)
    bands = tiff(wide[..., :3], photometric="minisblack", planarconfig="contig")
    yield Kind("TIFF uint16 of three bands", bands, RGB)
    inks = tiff(INK.astype(np.uint16) * 257, photometric="separated")
    yield Kind("TIFF uint16 CMYK", inks, to_rgb(Image.fromarray(INK, "CMYK")))
    yield Kind("BigTIFF uint16", tiff(deep, bigtiff=True), three(GRAY))
    pages = np.stack([deep, 65535 - deep])
    for name, options in (("two pages", {}), ("ImageJ", {"imagej": True})):
        encoded = tiff(pages, photometric="minisblack", **options)
        yield Kind(f"TIFF uint16 of {name}", encoded, three(GRAY))


def png_kinds():
    """PNG of all color types and depths, with a transparent color or none."""
    deep, alpha = RGB.astype(np.uint16) * 257, ALPHA.astype(np.uint16) * 257
    both = over_white(RGB, ALPHA)
    yield Kind("PNG RGB", png(RGB, depth=8, color_type=2), RGB)
    yield Kind("PNG gray", png(GRAY, depth=8, color_type=0), three(GRAY))
    yield Kind("PNG RGBA", png(RGBA, depth=8, color_type=6), both, 1)
    yield Kind("PNG 16 RGB", png(deep, depth=16, color_type=2), RGB)
    yield Kind("PNG 16 gray", png(deep[..., 0], depth=16, color_type=0), three(GRAY))
    yield Kind("PNG 16 RGBA", png(np.dstack([deep, alpha]), depth=16, color_type=6), both, 1)
    gray_alpha = over_white(three(GRAY), ALPHA)
    for depth, values in ((8, [GRAY, ALPHA]), (16, [deep[..., 0], alpha])):
        encoded = png(np.dstack(values), depth=depth, color_type=4)
        yield Kind(f"PNG {depth} gray and alpha", encoded, gray_alpha, 1)
    # A color that differs from the transparent one in the last bit alone is opaque.
    close = deep.copy()
    close[0, 0] = close[0, 1] ^ 1
    transparent = close[0, 1]
    is_clear = (close == transparent).all(axis=2)
    expected = np.where(is_clear[..., None], 255, np.rint(close / 257)).astype(np.uint8)
    chunks = [(b"tRNS", transparent.astype(">u2").tobytes())]
    encoded = png(close, depth=16, color_type=2, chunks=chunks)
    yield Kind("PNG 16 RGB, a color transparent", encoded, expected)
    is_clear = close[..., 0] == transparent[0]
    expected = three(np.where(is_clear, 255, np.rint(close[..., 0] / 257)))
    chunks = [(b"tRNS", transparent[:1].astype(">u2").tobytes())]
    encoded = png(close[..., 0], depth=16, color_type=0, chunks=chunks)
    yield Kind("PNG 16 gray, a gray transparent", encoded, expected)
    random = np.random.default_rng(0)
    for depth in (1, 2, 4, 8):
        few, top = GRAY >> (8 - depth), 2**depth - 1
        gray = few.astype(int) * 255 // top
        clear = [(b"tRNS", b"\0\1")]
        yield Kind(f"PNG {depth} gray", png(few, depth=depth, color_type=0), three(gray))
        encoded = png(few, depth=depth, color_type=0, chunks=clear)
        expected = three(np.where(few == 1, 255, gray))
        yield Kind(f"PNG {depth} gray, a gray transparent", encoded, expected)
        palette = random.integers(0, 256, (top + 1, 3), np.uint8)
        opacity = np.full(top + 1, 255, np.uint8)
        opacity[:2] = 0, 100
        colors = [(b"PLTE", palette.tobytes())]
        encoded = png(few, depth=depth, color_type=3, chunks=colors)
        yield Kind(f"PNG {depth} palette", encoded, palette[few])
        colors.append((b"tRNS", opacity[:2].tobytes()))  # the others are opaque
        encoded = png(few, depth=depth, color_type=3, chunks=colors)
        expected = over_white(palette[few], opacity[few])
        yield Kind(f"PNG {depth} palette with alpha", encoded, expected, 1)


def jpeg_kinds():
    """JPEG of all color spaces, progressive, of more than 8 bits, and of phones."""
    sharp = {"quality": 100, "subsampling": 0}
    inks = Image.fromarray(INK, "CMYK")
    yield Kind("JPEG gray", pillow(GRAY, "JPEG", quality=100), three(GRAY), 3)
    yield Kind("JPEG RGB", pillow(RGB, "JPEG", **sharp), RGB, 6)
    yield Kind("JPEG progressive", pillow(RGB, "JPEG", progressive=True, **sharp), RGB, 6)
    yield Kind("JPEG CMYK, inverted by Adobe", pillow(inks, "JPEG", **sharp), to_rgb(inks), 6)
    for space in ("CMYK", "YCCK"):
        encoded = imagecodecs.jpeg_encode(
            255 - INK, level=100, colorspace="CMYK", outcolorspace=space, subsampling="444"
        )
        yield Kind(f"JPEG {space} of libjpeg", encoded, to_rgb(inks), 8)
    encoded = imagecodecs.jpeg_encode(RGB, level=100, colorspace="RGB", outcolorspace="RGB")
    yield Kind("JPEG without YCbCr", encoded, RGB, 4)
    deep = RGB.astype(np.uint16) * 257
    for name, values, expected in (("gray", deep[..., 0], three(GRAY)), ("RGB", deep, RGB)):
        twelve = imagecodecs.jpeg_encode(
            values >> 4, level=100, bitspersample=12, subsampling="444"
        )
        yield Kind(f"JPEG 12 bits {name}", twelve, expected, 6)
    lossless = imagecodecs.jpeg_encode(deep[..., 0].copy(), lossless=True, bitspersample=16)
    yield Kind("JPEG lossless 16 bits", lossless, three(GRAY))
    second = Image.fromarray(255 - RGB)
    encoded = pillow(RGB, "MPO", save_all=True, append_images=[second], **sharp)
    yield Kind("MPO", encoded, RGB, 6)


def animated_kinds():
    """GIF, WebP and animated PNG, of which the first frame is used, and may be a part."""
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    indices = np.array([[1, 2], [3, 0]])
    for transparent in (None, 2):
        expected = np.full((5, 6, 3), 255)
        frame = palette[indices]
        expected[2:4, 3:5] = np.where((indices == transparent)[..., None], 255, frame)
        encoded = gif(indices, palette=palette, at=(3, 2), size=(6, 5), transparent=transparent)
        yield Kind(f"GIF in part, {transparent} transparent", encoded, expected)
    yield Kind("GIF", gif(indices, palette=palette, at=(0, 0), size=(2, 2)), palette[indices])
    first, second = Image.fromarray(RGBA), Image.fromarray(RGBA[::-1].copy())
    both = over_white(RGB, ALPHA)
    lossless = {"lossless": True, "exact": True}
    yield Kind("WebP", pillow(RGB, "WEBP", lossless=True), RGB)
    yield Kind("WebP lossy", pillow(three(GRAY), "WEBP", quality=100), three(GRAY), 8)
    yield Kind("WebP alpha", pillow(first, "WEBP", **lossless), both, 1)
    frames = {"save_all": True, "append_images": [second]}
    yield Kind("WebP animated", pillow(first, "WEBP", **frames, **lossless), both, 1)
    part = animated_webp(pillow(RGB, "WEBP", lossless=True), at=(4, 2), size=(40, 30))
    expected = np.full((30, 40, 3), 255, np.uint8)
    expected[2 : 2 + HEIGHT, 4 : 4 + WIDTH] = RGB
    yield Kind("WebP animated, first frame in part", part, expected)
    yield Kind("PNG animated", pillow(first, "PNG", **frames), both, 1)
    hidden = pillow(
        RGB,
        "PNG",
        save_all=True,
        append_images=[Image.fromarray(255 - RGB)],
        default_image=True,
    )
    yield Kind("PNG animated, first image apart", hidden, RGB)


def jpeg2000_and_avif_kinds():
    """JPEG 2000 and AVIF of all depths."""
    exact = {"level": 0, "reversible": True}
    both = over_white(RGB, ALPHA)
    for name, values, expected, tolerance in (
        ("gray", GRAY, three(GRAY), 0),
        ("RGB", RGB, RGB, 0),
        ("gray and alpha", np.dstack([GRAY, ALPHA]), over_white(three(GRAY), ALPHA), 1),
        ("RGBA", RGBA, both, 1),
    ):
        for bits, container in itertools.product((8, 16), ("jp2", "j2k")):
            deep = values if bits == 8 else values.astype(np.uint16) * 257
            encoded = imagecodecs.jpeg2k_encode(deep, codecformat=container, **exact)
            yield Kind(f"JPEG 2000 {container} {bits} {name}", encoded, expected, tolerance)
    for bits in (10, 12, 14):
        top = 2**bits - 1
        values = np.rint(RGB.astype(float) * top / 255).astype(np.uint16)
        encoded = imagecodecs.jpeg2k_encode(values, bitspersample=bits, **exact)
        expected = np.rint(values * (255 / top)).astype(np.uint8)
        yield Kind(f"JPEG 2000 {bits} bits", encoded, expected)
    signed = (GRAY.astype(np.int32) * 257 - 32768).astype(np.int16)
    encoded = imagecodecs.jpeg2k_encode(signed, **exact)
    yield Kind("JPEG 2000 int16", encoded, three(GRAY))
    for bits in (8, 10, 12):
        top = 2**bits - 1
        values = np.rint(RGB.astype(float) * top / 255).astype(np.uint16 if bits > 8 else np.uint8)
        encoded = imagecodecs.avif_encode(values, level=100, bitspersample=bits)
        yield Kind(f"AVIF {bits} bits", encoded, RGB, 2)


def bitmap_kinds():
    """The formats that Windows, printers and scientists use: BMP, ICO, TGA, PCX, SGI, QOI, PNM."""
    up = RGB[::-1].astype(int)
    size = {"width": WIDTH, "height": HEIGHT}
    fives = np.rint((RGB >> 3) * (255 / 31)).astype(np.uint8)
    packed = (up[..., 0] >> 3 << 10 | up[..., 1] >> 3 << 5 | up[..., 2] >> 3).astype("<u2")
    yield Kind("BMP 16 bits", bmp(packed.tobytes(), bits=16, **size), fives, 1)
    masks = (0x7C00, 0x3E0, 0x1F)
    encoded = bmp(packed.tobytes(), bits=16, compression=3, masks=masks, **size)
    yield Kind("BMP 5-5-5 by masks", encoded, fives, 1)
    sixes = fives.copy()
    sixes[..., 1] = np.rint((RGB[..., 1] >> 2) * (255 / 63))
    packed = (up[..., 0] >> 3 << 11 | up[..., 1] >> 2 << 5 | up[..., 2] >> 3).astype("<u2")
    masks = (0xF800, 0x7E0, 0x1F)
    encoded = bmp(packed.tobytes(), bits=16, compression=3, masks=masks, **size)
    yield Kind("BMP 5-6-5 by masks", encoded, sixes, 1)
    blue_first = RGBA[::-1, :, [2, 1, 0, 3]]
    yield Kind("BMP 24 bits", bmp(blue_first[..., :3].tobytes(), bits=24, **size), RGB)
    # The fourth byte has no meaning there, whatever its value.
    yield Kind("BMP 32 bits", bmp(blue_first.tobytes(), bits=32, **size), RGB)
    masks = (0xFF0000, 0xFF00, 0xFF)
    encoded = bmp(blue_first.tobytes(), bits=32, compression=3, masks=masks, **size)
    yield Kind("BMP 32 bits by masks", encoded, RGB)
    for header in (108, 124):
        encoded = bmp(
            blue_first.tobytes(),
            bits=32,
            compression=3,
            masks=(*masks, 0xFF000000),
            header=header,
            **size,
        )
        yield Kind(f"BMP alpha, header of {header}", encoded, over_white(RGB, ALPHA), 1)
    top_down = bmp(RGB[..., ::-1].tobytes(), bits=24, width=WIDTH, height=-HEIGHT)
    yield Kind("BMP top down", top_down, RGB)
    yield Kind("DIB", bmp(blue_first[..., :3].tobytes(), bits=24, **size)[14:], RGB)
    yield Kind("ICO", ico(RGBA), over_white(RGB, ALPHA), 1)
    yield Kind("TGA", tga(RGB), RGB)
    yield Kind("TGA alpha", tga(RGBA), over_white(RGB, ALPHA), 1)
    yield Kind("PCX", pcx(RGB), RGB)
    yield Kind("SGI", sgi(RGB), RGB)
    yield Kind("SGI 16 bits", sgi(RGB.astype(np.uint16) * 257), RGB)
    yield Kind("QOI", imagecodecs.qoi_encode(RGB), RGB)
    yield Kind("QOI alpha", imagecodecs.qoi_encode(RGBA), over_white(RGB, ALPHA), 1)
    head = b"%d %d" % (WIDTH, HEIGHT)
    for top in (255, 1023, 4095, 65535):
        values = np.rint(RGB.astype(float) * top / 255).astype(">u2" if top > 255 else np.uint8)
        expected = np.rint(values * (255 / top)).astype(np.uint8)
        header = b" %s %d\n" % (head, top)
        yield Kind(f"PPM to {top}", b"P6" + header + values.tobytes(), expected)
        gray = b"P5" + header + values[..., 0].tobytes()
        yield Kind(f"PGM to {top}", gray, three(expected[..., 0]))
        text = b" ".join(b"%d" % value for value in values.ravel())
        yield Kind(f"PPM in text to {top}", b"P3" + header + text, expected)
    bits = np.packbits(GRAY <= 100, axis=1)
    black = three(np.where(GRAY > 100, 255, 0))
    yield Kind("PBM", b"P4 " + head + b"\n" + bits.tobytes(), black)
    for order, scale in (("<", b"-1"), (">", b"1")):
        floats = (RGB[::-1] / 255).astype(f"{order}f4")
        header = b"\n%s\n%s\n" % (head, scale)
        yield Kind(f"PFM color {order}", b"PF" + header + floats.tobytes(), RGB)
        gray = b"Pf" + header + floats[..., 0].tobytes()
        yield Kind(f"PFM gray {order}", gray, three(GRAY))


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
