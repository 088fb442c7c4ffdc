"""The scene in every kind of image file that is read, with the pixels that each must give."""

import itertools

import imagecodecs
import numpy as np
from PIL import Image

from image_files import animated_webp, bmp, gif, ico, pcx, png, sgi, tga
from image_kinds_tiff import deep_tiff_kinds, tiff_kinds, turned_kinds
from image_scene import (
    ALPHA,
    GRAY,
    HEIGHT,
    INK,
    RGB,
    RGBA,
    WIDTH,
    Kind,
    over_white,
    pillow,
    three,
    to_rgb,
)


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
        *portable_map_kinds(),
        *turned_kinds(),
    ]


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
    for name, color_type, values in (("RGB", 2, close), ("gray", 0, close[..., :1])):
        transparent = values[0, 1]
        is_clear = (values == transparent).all(axis=2, keepdims=True)
        expected = np.where(is_clear, 255, np.rint(values / 257)) * np.ones(3)
        chunks = [(b"tRNS", transparent.astype(">u2").tobytes())]
        encoded = png(values, depth=16, color_type=color_type, chunks=chunks)
        yield Kind(f"PNG 16 {name}, one color transparent", encoded, expected.astype(np.uint8))
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
        settings = {"colorspace": "CMYK", "outcolorspace": space, "subsampling": "444"}
        encoded = imagecodecs.jpeg_encode(255 - INK, level=100, **settings)
        yield Kind(f"JPEG {space} of libjpeg", encoded, to_rgb(inks), 8)
    encoded = imagecodecs.jpeg_encode(RGB, level=100, colorspace="RGB", outcolorspace="RGB")
    yield Kind("JPEG without YCbCr", encoded, RGB, 4)
    deep = RGB.astype(np.uint16) * 257
    for name, values, expected in (("gray", deep[..., 0], three(GRAY)), ("RGB", deep, RGB)):
        settings = {"level": 100, "bitspersample": 12, "subsampling": "444"}
        twelve = imagecodecs.jpeg_encode(values >> 4, **settings)
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
    second = [Image.fromarray(255 - RGB)]
    hidden = pillow(RGB, "PNG", save_all=True, append_images=second, default_image=True)
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
    """BMP, ICO, TGA, PCX, SGI and QOI."""
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
        settings = {"compression": 3, "masks": (*masks, 0xFF000000), "header": header}
        encoded = bmp(blue_first.tobytes(), bits=32, **settings, **size)
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


def portable_map_kinds():
    """PBM, PGM, PPM with 8 or 16 bits, in binary and in text, and PFM."""
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
