"""Images of every kind come out upright, in 8-bit RGB, and the same whatever held them."""

import io
import struct
import subprocess
import zlib

import cv2
import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import EpsImagePlugin, Image, PngImagePlugin, TiffImagePlugin

from classifold.data.orientation import ORIENTATION_TAG
from classifold.data.pixels import FILTERS, rgb_pixels
from classifold.ingest.formats import FORMATS, KEPT_FORMATS
from classifold.ingest.images import decode, decode_rgb
from classifold.ingest.limits import MAX_PIXELS, UnreadableImageError, check_size
from classifold.ingest.perceptual_hash import perceptual_hash
from image_scene import TURNS, exif_of, pillow, tiff

GRADIENT = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
COLORED = np.stack([GRADIENT, 255 - GRADIENT, GRADIENT // 2], axis=2)
WIDE = np.zeros((16, 32, 3), np.uint8)
WIDE[:, :16] = (250, 0, 0)  # left half red, right half black
EXACT = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}


@pytest.mark.parametrize("file_format", sorted(set(KEPT_FORMATS) - {"GIF", "MPO"}))
def test_an_rgb_image_of_any_format_keeps_its_bytes(encode, file_format):
    encoded = encode(COLORED, file_format)
    decoded = decode(encoded)
    assert decoded.encoded == encoded
    assert (decoded.mode, decoded.conversion) == ("RGB", None)
    assert (decoded.turned, decoded.animated) == (False, False)
    assert (decoded.width, decoded.height) == (8, 6)
    assert rgb_pixels(encoded).shape == (6, 8, 3)


def test_a_phones_jpeg_with_a_second_picture_keeps_its_bytes_and_is_no_animation(encode):
    encoded = encode(
        Image.fromarray(COLORED), "MPO", save_all=True, append_images=[Image.fromarray(WIDE)]
    )
    assert Image.open(io.BytesIO(encoded)).n_frames == 2
    decoded = decode(encoded)
    assert decoded.encoded == encoded
    assert (decoded.width, decoded.height, decoded.animated) == (8, 6, False)


@pytest.mark.parametrize(
    ("extension", "tolerance"),
    [(".png", 1), (".tiff", 1), (".ppm", 0.5)],  # cut, cut, rounded
)
def test_16_bit_colors_are_scaled_to_8_bit(extension, tolerance):
    deep = np.arange(6 * 8 * 3, dtype=np.uint16).reshape(6, 8, 3) * 450
    encoded = cv2.imencode(extension, deep[..., ::-1])[1].tobytes()
    decoded = decode(encoded)
    assert (decoded.mode, decoded.conversion) == ("RGB", "deep")
    assert Image.open(io.BytesIO(decoded.encoded)).format == "PNG"
    np.testing.assert_allclose(rgb_pixels(decoded.encoded), deep / 257, atol=tolerance)


@pytest.mark.parametrize(
    ("content", "conversion", "pixels"),
    [
        pytest.param(b"P1 2 1 1 0", "grayscale", [[0] * 3, [255] * 3], id="bits in text"),
        pytest.param(b"P4 2 1\n\x40", "grayscale", [[255] * 3, [0] * 3], id="bits"),
        pytest.param(b"P2 2 1 255 7 9", "grayscale", [[7] * 3, [9] * 3], id="gray in text"),
        pytest.param(b"P5 2 1 15\n\x01\x0f", "grayscale", [[17] * 3, [255] * 3], id="to 15"),
        pytest.param(b"P3 1 1 255 1 2 3", None, [[1, 2, 3]], id="colors in text"),
        pytest.param(b"P3 1 1 510 2 4 510", "deep", [[1, 2, 255]], id="deep colors in text"),
        pytest.param(b"P6 1 1 255\nabc", None, [[97, 98, 99]], id="colors"),
        pytest.param(b"P6 1 1 65535\n\0\0\x80\x80\xff\xff", "deep", [[0, 128, 255]], id="deep"),
    ],
)
def test_portable_maps_by_hand(content, conversion, pixels):
    decoded = decode(content)
    assert decoded.conversion == conversion
    assert rgb_pixels(decoded.encoded)[0].tolist() == pixels


DEEP = GRADIENT.astype(np.uint16) * 257
DARKEST_TO_BRIGHTEST = np.array([[-10, 0, 10]], np.float32)
NOT_FINITE = np.array([[np.nan, 0, 1, np.inf, -np.inf]], np.float32)


GRAYS = {
    "bits": (GRADIENT > 100, "PNG", "1", np.where(GRADIENT > 100, 255, 0)),
    "8 bits": (GRADIENT, "PNG", "L", GRADIENT),
    "PNG of 16 bits": (DEEP, "PNG", "I;16", GRADIENT),
    "TIFF of 16 bits": (DEEP, "TIFF", "I;16", GRADIENT),
    "PGM of 16 bits": (Image.fromarray(DEEP).convert("I"), "PPM", "I", GRADIENT),
    "32 bits up to 255": (GRADIENT.astype(np.int32), "TIFF", "I", GRADIENT),
    "32 bits up to 65535": (DEEP.astype(np.int32), "TIFF", "I", GRADIENT),
    "floats up to 1": ((GRADIENT / 255).astype(np.float32), "TIFF", "F", GRADIENT),
    "floats up to 255": (GRADIENT.astype(np.float32), "TIFF", "F", GRADIENT),
    "negative floats": (DARKEST_TO_BRIGHTEST, "TIFF", "F", [[0, 128, 255]]),
    "NaN and infinity": (NOT_FINITE, "TIFF", "F", [[0, 0, 255, 255, 0]]),
    "NaN alone": (np.full((1, 2), np.nan, np.float32), "TIFF", "F", [[0, 0]]),
}


@pytest.mark.parametrize(("image", "file_format", "mode", "gray"), GRAYS.values(), ids=GRAYS)
def test_every_gray_comes_out_as_three_equal_channels(encode, image, file_format, mode, gray):
    decoded = decode(encode(image, file_format))
    assert decoded.mode == mode
    assert decoded.conversion == ("grayscale" if mode in ("1", "L") else "deep")
    pixels = rgb_pixels(decoded.encoded)
    np.testing.assert_array_equal(pixels, np.repeat(np.asarray(gray)[..., None], 3, axis=2))


def test_a_grayscale_jpeg_is_stored_again_without_loss(encode):
    encoded = encode(GRADIENT, "JPEG")
    decoded = decode(encoded)
    gray = np.asarray(Image.open(io.BytesIO(encoded)))
    assert decoded.conversion == "grayscale"
    assert Image.open(io.BytesIO(decoded.encoded)).format == "PNG"
    np.testing.assert_array_equal(rgb_pixels(decoded.encoded), np.repeat(gray[..., None], 3, 2))


def palette_image(**info):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.info.update(info)
    return image


TRANSPARENT = {
    "palette": (palette_image(), "palette", [10, 20, 30]),
    "clear palette": (palette_image(transparency=0), "palette", [255, 255, 255]),
    "opaque": (Image.new("RGBA", (2, 2), (10, 20, 30, 255)), "alpha", [10, 20, 30]),
    "clear": (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "alpha", [255, 255, 255]),
    "a fifth of it": (Image.new("RGBA", (2, 2), (0, 100, 255, 51)), "alpha", [204, 224, 255]),
    "opaque gray": (Image.new("LA", (2, 2), (40, 255)), "alpha", [40, 40, 40]),
    "clear gray": (Image.new("LA", (2, 2), (40, 0)), "alpha", [255, 255, 255]),
}


@pytest.mark.parametrize(("image", "conversion", "expected"), TRANSPARENT.values(), ids=TRANSPARENT)
def test_palettes_are_looked_up_and_transparency_lies_over_white(
    encode, image, conversion, expected
):
    decoded = decode(encode(image))
    assert decoded.mode == image.mode
    assert decoded.conversion == conversion
    assert rgb_pixels(decoded.encoded)[0, 0].tolist() == expected


@pytest.mark.parametrize(
    "image",
    [Image.new("RGBA", (2, 2)), Image.new("LA", (2, 2)), palette_image(transparency=0)],
    ids=["colors", "gray", "palette"],
)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "GIF"])
def test_what_shines_through_is_the_background_one_chooses(encode, image, file_format):
    if file_format in ("TIFF", "GIF"):
        image = image.convert("RGBA")  # these hold transparency in this mode alone
    decoded = decode(encode(image, file_format), background=(10, 120, 230))
    assert rgb_pixels(decoded.encoded)[0, 0].tolist() == [10, 120, 230]


@pytest.mark.parametrize(
    ("image", "transparency", "pixels"),
    [
        ([[5, 6]], 5, [[9, 8, 7], [6, 6, 6]]),
        ([[[1, 2, 3], [4, 5, 6]]], (1, 2, 3), [[9, 8, 7], [4, 5, 6]]),
    ],
)
def test_a_color_that_a_png_declares_transparent_turns_the_background(
    encode, image, transparency, pixels
):
    encoded = encode(np.array(image, np.uint8), transparency=transparency)
    decoded = decode(encoded, background=(9, 8, 7))
    assert decoded.conversion == "alpha"
    assert rgb_pixels(decoded.encoded).tolist() == [pixels]


def test_the_first_frame_of_an_animation_lies_over_the_background(encode):
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    encoded = encode(clear, "WEBP", save_all=True, append_images=[Image.new("RGBA", (2, 2))])
    assert rgb_pixels(decode(encoded, background=(9, 8, 7)).encoded)[0, 0].tolist() == [9, 8, 7]


def test_a_cmyk_jpeg_keeps_its_colors(encode):
    decoded = decode(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert (decoded.mode, decoded.conversion) == ("CMYK", "cmyk")
    red = rgb_pixels(decoded.encoded)[8, 8].astype(int)
    assert abs(red - [255, 0, 0]).max() <= 8


def test_a_tiff_in_ycbcr_keeps_its_colors(encode):
    image = Image.fromarray(COLORED).convert("YCbCr")
    decoded = decode(encode(image, "TIFF"))
    assert (decoded.mode, decoded.conversion) == ("YCbCr", "other")
    np.testing.assert_array_equal(rgb_pixels(decoded.encoded), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_jpeg_that_exif_marks_as_turned_keeps_its_bytes_and_is_read_upright(encode, orientation):
    encoded = encode(WIDE, "JPEG", exif=exif_of(orientation))
    turn = TURNS[orientation]
    decoded = decode(encoded)
    stored = np.asarray(Image.open(io.BytesIO(encoded)))
    assert decoded.turned
    assert decoded.encoded == encoded
    np.testing.assert_array_equal(rgb_pixels(encoded), turn(stored))
    assert (decoded.height, decoded.width) == turn(stored).shape[:2]
    assert decoded.pixels_sha256 == decode(encode(turn(stored).copy())).pixels_sha256


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_exif_turns_images_of_other_formats_too(encode, file_format):
    encoded = encode(COLORED, file_format, exif=exif_of(6), **EXACT.get(file_format, {}))
    decoded = decode(encoded)
    assert decoded.turned
    assert decoded.encoded == encoded
    assert (decoded.height, decoded.width) == (8, 6)
    np.testing.assert_array_equal(rgb_pixels(encoded), np.rot90(COLORED, -1))


def test_an_image_that_is_stored_again_is_turned_once(encode):
    decoded = decode(encode(GRADIENT, exif=exif_of(6)))
    assert decoded.turned
    upright = np.rot90(GRADIENT, -1)
    np.testing.assert_array_equal(rgb_pixels(decoded.encoded), np.dstack([upright] * 3))
    again = decode(decoded.encoded)
    assert (again.encoded, again.turned) == (decoded.encoded, False)


def test_exif_of_an_upright_image_changes_nothing(encode):
    encoded = encode(WIDE, "JPEG", exif=exif_of(1))
    assert decode(encoded).encoded == encoded
    assert not decode(encoded).turned


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
DESCRIBED = Image.Exif()
DESCRIBED[0x010E] = "no orientation"
ITXT = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP


def png_with(encoded, *, before=b"", after=b""):
    """Add chunks of metadata before and after the pixels of a PNG, which begin after 33 bytes."""
    return encoded[:33] + before + encoded[33:-12] + after + encoded[-12:]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    "before", [b"", chunk(b"eXIf", DESCRIBED.tobytes()[6:])], ids=["alone", "after a description"]
)
@pytest.mark.parametrize(
    "after",
    [
        chunk(b"iTXt", ITXT),
        chunk(b"eXIf", exif_of(6).tobytes()[6:]),
        chunk(b"eXIf", b"junkjunk"),
    ],
    ids=["XMP", "Exif", "damaged Exif"],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_metadata_after_the_pixels_of_a_png_are_read_wherever_it_is_read(
    encode, before, after, dtype
):
    image = COLORED if dtype == np.uint8 else GRADIENT.astype(np.uint16) * 257
    decoded = decode(png_with(encode(image), before=before, after=after))
    pixels = rgb_pixels(decoded.encoded)
    assert pixels.shape == (decoded.height, decoded.width, 3)
    assert decoded.pixels_sha256 == decode(encode(pixels)).pixels_sha256
    assert decoded.turned == (b"junk" not in after)


@pytest.mark.parametrize(
    ("tag", "kind", "value"),
    [
        pytest.param(0x011A, 2, b"72\0\0", id="the resolution as text"),
        pytest.param(0x0100, 2, b"10\0\0", id="the width as text"),
        pytest.param(0x0128, 2, b"in\0\0", id="the unit of the resolution as text"),
        pytest.param(0x0100, 9, b"\xff\xff\xff\xff", id="a negative width"),
    ],
)
def test_a_photo_is_turned_whatever_its_other_tags_are(encode, tag, kind, value):
    entries = sorted([(tag, kind, 4 if kind == 2 else 1, value), (ORIENTATION_TAG, 3, 1, b"\0\6")])
    tags = b"".join(struct.pack(">HHI4s", *entry) for entry in entries)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + tags + bytes(4)
    decoded = decode(encode(WIDE, "JPEG", exif=exif))
    assert decoded.turned
    assert rgb_pixels(decoded.encoded).shape == (32, 16, 3)


@pytest.mark.parametrize("kind", [bytes, str, int], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("orientation", [None, 6])
def test_the_xmp_of_a_tiff_has_any_type(encode, kind, orientation):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    value, tag_type = {bytes: (XMP, 7), str: (XMP.decode(), 2), int: (5, 3)}[kind]
    tags.tagtype[TiffImagePlugin.XMP] = tag_type
    tags[TiffImagePlugin.XMP] = value
    if orientation:
        tags[ORIENTATION_TAG] = orientation
    decoded = decode(encode(COLORED, "TIFF", tiffinfo=tags))
    assert decoded.turned == (bool(orientation) or kind is not int)
    assert rgb_pixels(decoded.encoded).shape == (decoded.height, decoded.width, 3)


@pytest.mark.filterwarnings("ignore:(Tag data|Corrupt EXIF|Metadata):UserWarning")
def test_damaged_metadata_turn_nothing(encode):
    tag = struct.pack("<HHII", ORIENTATION_TAG, 2, 70_000, 2**31)
    damaged = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + tag
    assert not decode(encode(WIDE, "JPEG", exif=damaged)).turned


def test_a_jpeg_with_a_wrong_bit_depth_is_unreadable(encode):
    encoded = bytearray(encode(COLORED, "JPEG"))
    encoded[encoded.index(b"\xff\xc0") + 4] = 16
    with pytest.raises(UnreadableImageError, match="a JPEG of 16 bits per channel that cannot be"):
        decode_rgb(bytes(encoded), background=(0, 0, 0), ranges={})


def test_a_tiff_with_an_unknown_order_of_planes_is_unreadable():
    encoded = tiff(COLORED.astype(np.uint16) * 257, photometric="rgb")
    entry = struct.pack("<HHI", 284, 3, 1)  # the tag, a short, one of it
    assert entry + b"\1" in encoded
    with pytest.raises(UnreadableImageError, match="a TIFF with the planar configuration 3"):
        decode(encoded.replace(entry + b"\1", entry + b"\3"))


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "WEBP", "AVIF", "TIFF"])
def test_of_an_animation_the_first_frame_stays(encode, file_format):
    frames = [Image.new("RGB", (4, 4), color) for color in ((255, 0, 0), (0, 0, 255))]
    options = {"save_all": True, "append_images": frames[1:]} | EXACT.get(file_format, {})
    decoded = decode(encode(frames[0], file_format, **options))
    assert decoded.animated
    stored = Image.open(io.BytesIO(decoded.encoded))
    assert getattr(stored, "n_frames", 1) == 1
    np.testing.assert_allclose(rgb_pixels(decoded.encoded)[0, 0], [255, 0, 0], atol=2)


def test_a_gif_of_one_frame_is_no_animation(encode):
    assert not decode(encode(COLORED, "GIF")).animated


def test_what_is_stored_again_carries_no_text_of_the_source(encode):
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "a name that must not travel")
    decoded = decode(encode(GRADIENT, pnginfo=text))
    assert b"must not travel" not in decoded.encoded


def test_odd_metadata_of_a_whole_image_is_no_failure(encode):
    encoded = encode(COLORED, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    decoded = decode(encoded)
    assert decoded.encoded == encoded
    assert decoded.pixels_sha256 == decode(encode(COLORED, "JPEG")).pixels_sha256


IMAGES = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda size: st.one_of(
        arrays(np.uint8, size), arrays(np.uint8, (*size, 3)), arrays(np.uint8, (*size, 4))
    )
)


@given(IMAGES)
def test_what_was_decoded_once_is_stored_as_it_is(image):
    once = decode(pillow(image))
    twice = decode(once.encoded)
    assert twice == once._replace(mode="RGB", conversion=None)


@pytest.mark.parametrize(
    "file_format",
    ["BMP", "DIB", "TIFF", "WEBP", "PPM", "TGA", "PCX", "QOI", "SGI", "JPEG2000", "ICO"],
)
def test_equal_pixels_have_equal_hashes_in_any_format(encode, file_format):
    png = decode(encode(COLORED))
    other = decode(encode(COLORED, file_format, **EXACT.get(file_format, {})))
    assert other.pixels_sha256 == png.pixels_sha256
    assert other.perceptual_hash == png.perceptual_hash


def test_the_hash_distinguishes_one_pixel_and_one_shape(encode):
    other = COLORED.copy()
    other[0, 0, 0] += 1
    reshaped = COLORED.reshape(8, 6, 3)
    hashes = {decode(encode(image)).pixels_sha256 for image in (COLORED, other, reshaped)}
    assert len(hashes) == 3


def test_the_perceptual_hash_survives_shrinking_and_recompression(encode):
    random = np.random.default_rng(0)
    scene = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).resize((120, 120))
    small = scene.resize((60, 60))
    other = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).resize((120, 120))
    first, copy, unrelated = (
        int(decode(encoded).perceptual_hash, 16)
        for encoded in (encode(scene), encode(small, "JPEG", quality=70), encode(other))
    )
    assert (first ^ copy).bit_count() <= 6
    assert (first ^ unrelated).bit_count() >= 16


@given(st.integers(0, 2**32), st.integers(1, 90), st.integers(1, 90), st.sampled_from("RL"))
def test_the_perceptual_hash_is_that_of_imagehash(seed, width, height, kind):
    random = np.random.default_rng(seed)
    shape = (height, width, 3) if kind == "R" else (height, width)
    image = Image.fromarray(random.integers(0, 256, shape, np.uint8))
    assert perceptual_hash(image) == str(imagehash.phash(image))


@pytest.mark.parametrize("side", [4, 9, 300])
def test_the_perceptual_hash_of_smooth_scenes_is_that_of_imagehash(side):
    random = np.random.default_rng(side)
    for _ in range(40):
        scene = Image.fromarray(random.integers(0, 256, (5, 6, 3), np.uint8)).resize((side, side))
        assert perceptual_hash(scene) == str(imagehash.phash(scene))


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_jpeg_is_refused(encode, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    encoded = encode(noise, "JPEG")
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(encoded[: int(len(encoded) * kept)])


def test_a_png_with_wrong_bytes_is_refused(encode):
    encoded = bytearray(encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    encoded[len(encoded) // 2] ^= 255
    with pytest.raises(UnreadableImageError):
        decode(bytes(encoded))


@pytest.mark.parametrize(
    "file_format", ["EPS", "PDF", "BLP", "DDS", "ICNS", "SPIDER", "XBM", "MSP", "PALM"]
)
@pytest.mark.promise("no-program", "decoders-off")
def test_formats_that_people_do_not_keep_pictures_in_meet_no_decoder(
    encode, monkeypatch, file_format
):
    def started(*_, **__):
        raise AssertionError("a program was started")

    modes = {"XBM": "1", "MSP": "1", "BLP": "P", "PALM": "P", "SPIDER": "F"}
    image = Image.fromarray(GRADIENT).convert(modes.get(file_format, "L"))
    encoded = encode(image, file_format)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(UnreadableImageError, match=r"not an image|DDS is not supported"):
        decode(encoded)


@pytest.mark.parametrize("file_format", sorted(set(FORMATS) - set(KEPT_FORMATS)))
def test_a_rare_format_is_stored_again_without_loss(encode, file_format):
    encoded = encode(COLORED, file_format)
    decoded = decode(encoded)
    assert (decoded.mode, decoded.conversion) == ("RGB", None)
    assert Image.open(io.BytesIO(decoded.encoded)).format == "PNG"
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    np.testing.assert_array_equal(rgb_pixels(decoded.encoded), expected)


def two_in_one():
    """A TGA of 64 x 64 that is a Windows cursor of 2 x 2 as well."""
    where = 200
    header = bytearray(18)
    header[2:8] = 2, 0, 1, 0, 2, 2
    header[12:18] = struct.pack("<HHBB", 64, 64, 24, 0x20)
    cursor = struct.pack("<IiiHHIIiiII", 40, 2, 4, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(32)
    content = header + struct.pack("<I", where).ljust(where - 18, b"\0") + cursor
    return bytes(content.ljust(18 + 64 * 64 * 3, b"\0"))


def test_a_file_that_two_decoders_take_for_their_own_is_kept_as_one():
    assert Image.open(io.BytesIO(two_in_one())).size == (2, 2)
    decoded = decode(two_in_one())
    assert (decoded.width, decoded.height) == (64, 64)
    assert rgb_pixels(decoded.encoded).shape == (64, 64, 3)


def claiming(width, height):
    """A PNG of some fifty bytes that claims many pixels, and has none."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"")


@pytest.mark.promise("limit-image")
def test_a_bomb_of_pixels_is_refused_before_it_is_decoded():
    with pytest.raises(UnreadableImageError, match=f"9000 x 9000 pixels; .* is {MAX_PIXELS:,}"):
        decode(claiming(9000, 9000))
    with pytest.raises(UnreadableImageError, match="too many pixels; the maximum is 64,000,000"):
        decode(claiming(100_000, 100_000))


@pytest.mark.promise("limit-image")
def test_a_bomb_of_values_is_refused():
    check_size(6000, 8000, 8)
    with pytest.raises(UnreadableImageError, match="8 bytes; the maximum is 384,000,000 bytes"):
        check_size(6001, 8000, 8)


def test_a_bomb_of_pixels_inside_an_icon_is_refused(encode):
    bomb = encode(Image.new("1", (9000, 9000)))
    icon = b"\0\0\1\0\1\0\0\0\0\0" + struct.pack("<HHII", 1, 32, len(bomb), 22) + bomb
    with pytest.raises(UnreadableImageError, match="9000 x 9000 pixels"):
        decode(icon)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", [(6, 10), (6, 4), (4, 10)])
def test_resizing_keeps_a_plain_color_and_gives_a_square(encode, name, shape):
    plain = np.full((*shape, 3), (10, 120, 230), np.uint8)
    pixels = rgb_pixels(encode(plain), size=4, resize=name)
    np.testing.assert_array_equal(pixels, np.full((4, 4, 3), (10, 120, 230)))


def test_resizing_stretches_the_whole_picture(encode):
    pixels = rgb_pixels(encode(WIDE), size=16, resize="box")
    np.testing.assert_array_equal(pixels[:, :8], np.full((16, 8, 3), (250, 0, 0)))
    np.testing.assert_array_equal(pixels[:, 8:], np.zeros((16, 8, 3)))


def test_an_image_of_the_wanted_size_is_not_resampled(encode):
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(rgb_pixels(encode(noise), size=8), noise)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC or HEIF is not supported; convert it to JPEG or PNG"),
        (b"8BPS\0\1", "Photoshop is not supported; convert it to JPEG or PNG"),
        (bytes(128) + b"DICM", "DICOM is not supported; convert it to JPEG or PNG"),
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n", "begins like an image, but cannot be decoded: damaged, or .*"),
        (b"BM" + bytes(28), "cannot be decoded: Unsupported BMP header type \\(0\\)"),
        (b"\xff\xd8", "not an image in a supported format"),
        (b"a text file", "not an image in a supported format"),
        (b"<svg></svg>", "not an image in a supported format"),
    ],
    ids=["HEIC", "Photoshop", "DICOM", "empty", "PNG", "BMP", "JPEG", "text", "SVG"],
)
def test_the_reason_says_what_the_file_is(content, reason):
    with pytest.raises(UnreadableImageError, match=f"^{reason}$"):
        decode(content)
