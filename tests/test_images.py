"""Images of every kind come out upright, in 8-bit RGB, and the same whatever held them."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, PngImagePlugin

from classifold.images import MOST_PIXELS, ORIENTATION_TAG, UnreadableImageError, decode
from classifold.pixels import FILTERS, rgb_pixels

GRADIENT = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
COLOURED = np.stack([GRADIENT, 255 - GRADIENT, GRADIENT // 2], axis=2)
WIDE = np.zeros((16, 32, 3), np.uint8)
WIDE[:, :16] = (250, 0, 0)  # left half red, right half black


def test_an_rgb_jpeg_keeps_its_bytes(encode):
    encoded = encode(COLOURED, "JPEG", quality=80)
    decoded = decode(encoded)
    assert decoded.encoded == encoded
    assert (decoded.mode, decoded.conversion, decoded.turned) == ("RGB", None, False)
    assert (decoded.width, decoded.height) == (8, 6)


@pytest.mark.parametrize(
    ("image", "file_format", "mode", "gray"),
    [
        pytest.param(
            Image.fromarray(GRADIENT > 100),
            "PNG",
            "1",
            np.where(GRADIENT > 100, 255, 0),
            id="black and white",
        ),
        pytest.param(Image.fromarray(GRADIENT), "PNG", "L", GRADIENT, id="8-bit"),
        pytest.param(
            Image.fromarray(GRADIENT.astype(np.uint16) * 257),
            "PNG",
            "I;16",
            GRADIENT,
            id="16-bit",
        ),
        pytest.param(
            Image.fromarray(GRADIENT.astype(np.int32)), "TIFF", "I", GRADIENT, id="32-bit, to 255"
        ),
        pytest.param(
            Image.fromarray(GRADIENT.astype(np.int32) * 257),
            "TIFF",
            "I",
            GRADIENT,
            id="32-bit, to 65535",
        ),
        pytest.param(
            Image.fromarray((GRADIENT / 255).astype(np.float32)),
            "TIFF",
            "F",
            GRADIENT,
            id="floats, to 1",
        ),
        pytest.param(
            Image.fromarray(GRADIENT.astype(np.float32)), "TIFF", "F", GRADIENT, id="floats, to 255"
        ),
        pytest.param(
            Image.fromarray(np.array([[-10, 0, 10]], np.float32)),
            "TIFF",
            "F",
            [[0, 128, 255]],
            id="floats below 0, by their range",
        ),
    ],
)
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


@pytest.mark.parametrize(
    ("image", "conversion", "expected"),
    [
        pytest.param(palette_image(), "palette", [10, 20, 30], id="P"),
        pytest.param(
            palette_image(transparency=0), "palette", [255, 255, 255], id="P, transparent"
        ),
        pytest.param(
            Image.new("RGBA", (2, 2), (10, 20, 30, 255)), "alpha", [10, 20, 30], id="RGBA, opaque"
        ),
        pytest.param(
            Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "alpha", [255, 255, 255], id="RGBA, clear"
        ),
        pytest.param(
            Image.new("RGBA", (2, 2), (0, 100, 255, 51)),  # a fifth of it, four of white
            "alpha",
            [204, 224, 255],
            id="RGBA, a fifth opaque",
        ),
        pytest.param(Image.new("LA", (2, 2), (40, 255)), "alpha", [40, 40, 40], id="LA, opaque"),
        pytest.param(Image.new("LA", (2, 2), (40, 0)), "alpha", [255, 255, 255], id="LA, clear"),
    ],
)
def test_palettes_are_looked_up_and_transparency_lies_over_white(
    encode, image, conversion, expected
):
    decoded = decode(encode(image))
    assert decoded.mode == image.mode
    assert decoded.conversion == conversion
    assert rgb_pixels(decoded.encoded)[0, 0].tolist() == expected


def test_a_colour_that_an_rgb_png_declares_transparent_turns_white(encode):
    image = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    decoded = decode(encode(image, transparency=(1, 2, 3)))
    assert decoded.conversion == "alpha"
    assert rgb_pixels(decoded.encoded).tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_a_cmyk_jpeg_keeps_its_colours(encode):
    decoded = decode(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert (decoded.mode, decoded.conversion) == ("CMYK", "cmyk")
    red = rgb_pixels(decoded.encoded)[8, 8].astype(int)
    assert abs(red - [255, 0, 0]).max() <= 8


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        pytest.param(2, lambda pixels: pixels[:, ::-1], id="mirrored"),
        pytest.param(3, lambda pixels: pixels[::-1, ::-1], id="upside down"),
        pytest.param(4, lambda pixels: pixels[::-1], id="flipped"),
        pytest.param(5, lambda pixels: pixels.transpose(1, 0, 2), id="transposed"),
        pytest.param(6, lambda pixels: np.rot90(pixels, -1), id="to be turned right"),
        pytest.param(8, np.rot90, id="to be turned left"),
    ],
)
def test_a_jpeg_that_exif_says_is_turned_comes_out_upright_and_says_so_no_more(
    encode, orientation, turn
):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    encoded = encode(WIDE, "JPEG", exif=exif)
    decoded = decode(encoded)
    stored = np.asarray(Image.open(io.BytesIO(encoded)))
    assert decoded.turned
    np.testing.assert_array_equal(rgb_pixels(decoded.encoded), turn(stored))
    assert (decoded.height, decoded.width) == turn(stored).shape[:2]
    assert not decode(decoded.encoded).turned


def test_exif_that_says_upright_changes_nothing(encode):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 1
    encoded = encode(WIDE, "JPEG", exif=exif)
    assert decode(encoded).encoded == encoded
    assert not decode(encoded).turned


def test_of_an_animation_the_first_frame_stays(encode):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    decoded = decode(encode(frames[0], save_all=True, append_images=frames[1:]))
    stored = Image.open(io.BytesIO(decoded.encoded))
    assert getattr(stored, "n_frames", 1) == 1
    assert rgb_pixels(decoded.encoded)[0, 0].tolist() == [255, 0, 0]


def test_what_is_stored_again_carries_no_text_of_the_source(encode):
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "a name that must not travel")
    decoded = decode(encode(GRADIENT, pnginfo=text))
    assert b"must not travel" not in decoded.encoded


def test_odd_metadata_of_a_whole_image_is_no_failure(encode):
    encoded = encode(COLOURED, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    decoded = decode(encoded)
    assert decoded.encoded == encoded
    assert decoded.pixels_sha256 == decode(encode(COLOURED, "JPEG")).pixels_sha256


IMAGES = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda size: st.one_of(
        arrays(np.uint8, size), arrays(np.uint8, (*size, 3)), arrays(np.uint8, (*size, 4))
    )
)


@given(IMAGES)
def test_what_was_decoded_once_is_stored_as_it_is(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    once = decode(buffer.getvalue())
    twice = decode(once.encoded)
    assert twice == once._replace(mode="RGB", conversion=None)


@pytest.mark.parametrize("file_format", ["BMP", "TIFF", "WEBP", "PPM"])
def test_equal_pixels_have_equal_hashes_in_any_format(encode, file_format):
    options = {"lossless": True} if file_format == "WEBP" else {}
    png, other = decode(encode(COLOURED)), decode(encode(COLOURED, file_format, **options))
    assert other.pixels_sha256 == png.pixels_sha256
    assert other.perceptual_hash == png.perceptual_hash


def test_the_hash_tells_apart_one_pixel_and_one_shape(encode):
    other = COLOURED.copy()
    other[0, 0, 0] += 1
    reshaped = COLOURED.reshape(8, 6, 3)
    hashes = {decode(encode(image)).pixels_sha256 for image in (COLOURED, other, reshaped)}
    assert len(hashes) == 3


def test_the_perceptual_hash_survives_shrinking_and_recompression(encode):
    random = np.random.default_rng(0)
    scene = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).resize((120, 120))
    small = scene.resize((60, 60))
    other = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).resize((120, 120))
    first, copy, stranger = (
        int(decode(encoded).perceptual_hash, 16)
        for encoded in (encode(scene), encode(small, "JPEG", quality=70), encode(other))
    )
    assert (first ^ copy).bit_count() <= 6
    assert (first ^ stranger).bit_count() >= 16


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


@pytest.mark.parametrize("content", [b"", b"a text file", b"<svg></svg>", b"\xff\xd8"])
def test_what_is_no_image_is_refused(content):
    with pytest.raises(UnreadableImageError, match="not an image in a format that is read here"):
        decode(content)


def claiming(width, height):
    """A PNG of some fifty bytes that claims many pixels, and has none."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4, "big")
        + name
        + content
        + zlib.crc32(name + content).to_bytes(4, "big")
        for name, content in chunks
    )


def test_a_bomb_of_pixels_is_refused_before_it_is_decoded():
    with pytest.raises(UnreadableImageError, match=f"9000 x 9000 pixels; .* is {MOST_PIXELS:,}"):
        decode(claiming(9000, 9000))
    with pytest.raises(UnreadableImageError, match="DecompressionBombError"):
        decode(claiming(100_000, 100_000))


@pytest.mark.parametrize("name", FILTERS)
def test_resizing_keeps_a_plain_colour_and_gives_a_square(encode, name):
    plain = np.full((6, 10, 3), (10, 120, 230), np.uint8)
    pixels = rgb_pixels(encode(plain), size=4, resize=name)
    np.testing.assert_array_equal(pixels, np.full((4, 4, 3), (10, 120, 230)))


def test_resizing_stretches_the_whole_picture(encode):
    pixels = rgb_pixels(encode(WIDE), size=16, resize="box")
    np.testing.assert_array_equal(pixels[:, :8], np.full((16, 8, 3), (250, 0, 0)))
    np.testing.assert_array_equal(pixels[:, 8:], np.zeros((16, 8, 3)))


def test_an_image_of_the_wanted_size_is_not_resampled(encode):
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(rgb_pixels(encode(noise), size=8), noise)
