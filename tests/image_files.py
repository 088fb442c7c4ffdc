"""Write image files byte by byte, independently of Pillow, for tests of decoders."""

import struct
import zlib

import numpy as np


def png(values, *, depth, color_type, chunks=()):
    """A PNG of rows of bytes, or of an array that is written in big-endian order."""
    height, width = values.shape[:2]
    dtype = ">u2" if depth == 16 else np.uint8
    rows = [row.astype(dtype).tobytes() for row in values]
    if depth < 8:
        bits = np.unpackbits(values[..., None].astype(np.uint8), axis=2)[..., 8 - depth :]
        rows = [np.packbits(row).tobytes() for row in bits.reshape(height, -1)]
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", content), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def bmp(pixels, *, bits, width, height, compression=0, masks=(), header=40):
    """A BMP of rows that are given bottom up; bit masks stand after or in the header."""
    fields = (header, width, height, 1, bits, compression, len(pixels), 0, 0, 0, 0)
    head = struct.pack("<IiiHHIIiiII", *fields) + struct.pack(f"<{len(masks)}I", *masks)
    if header > 40:
        head = head.ljust(header, b"\0")
    offset = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + head + pixels


def gif(indices, *, palette, at, size, transparent=None):
    """A GIF whose only frame of indices 0 to 3 covers a part of the canvas.

    The codes are not compressed: each index is followed by one that clears the table.
    """
    width, height = size
    flags = 0 if transparent is None else 1
    control = b"\x21\xf9\x04" + bytes([flags, 0, 0, transparent or 0, 0])
    frame = b"\x2c" + struct.pack("<HHHHB", *at, indices.shape[1], indices.shape[0], 0)
    codes = [4] + [code for index in indices.flat for code in (int(index), 4)] + [5]
    bits = sum(code << (3 * i) for i, code in enumerate(codes))
    content = bits.to_bytes((3 * len(codes) + 7) // 8, "little")
    blocks = bytes([2, len(content)]) + content  # a block has up to 255 bytes
    header = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x81, 0, 0)
    return header + bytes(np.asarray(palette, np.uint8)) + control + frame + blocks + b"\0;"


def tga(pixels):
    """An uncompressed TGA of an RGB or RGBA array, top row first."""
    height, width, channels = pixels.shape
    order = [2, 1, 0, 3][:channels]
    flags = 0x20 | (8 if channels == 4 else 0)
    fields = (0, 0, 2, 0, 0, 0, 0, 0, width, height, 8 * channels, flags)
    return struct.pack("<BBBHHBHHHHBB", *fields) + pixels[..., order].tobytes()


def sgi(pixels):
    """An uncompressed SGI image of an RGB array, of uint8 or uint16."""
    height, width, channels = pixels.shape
    top = 2 ** (8 * pixels.itemsize) - 1
    header = struct.pack(">HBBHHHHII", 474, 0, pixels.itemsize, 3, width, height, channels, 0, top)
    planes = pixels[::-1].transpose(2, 0, 1).astype(pixels.dtype.newbyteorder(">"))
    return header.ljust(512, b"\0") + planes.tobytes()


def pcx(pixels):
    """A PCX of an RGB array of an even width."""
    height, width, _ = pixels.shape
    header = struct.pack("<BBBBHHHHHH", 10, 5, 1, 8, 0, 0, width - 1, height - 1, 72, 72)
    header += bytes(48) + struct.pack("<BBHH", 0, 3, width, 1)
    # Each byte is a run of one.
    values = pixels.transpose(0, 2, 1).ravel()
    runs = np.stack([np.full_like(values, 0xC1), values], axis=1)
    return header.ljust(128, b"\0") + runs.tobytes()


def ico(pixels):
    """An icon that holds a bitmap of 32 bits: an RGBA array."""
    height, width, _ = pixels.shape
    bitmap = struct.pack("<IiiHHIIiiII", 40, width, 2 * height, 1, 32, 0, 0, 0, 0, 0, 0)
    bitmap += pixels[::-1, :, [2, 1, 0, 3]].tobytes() + bytes(height * ((width + 31) // 32) * 4)
    entry = struct.pack("<BBBBHHII", width, height, 0, 0, 1, 32, len(bitmap), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + bitmap


def animated_webp(frame, *, at, size):
    """An animated WebP whose first frame, the bytes of a lossless WebP, covers a part of it."""

    def chunk(name, data):
        return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    def three(number):
        return struct.pack("<I", number)[:3]

    image = frame[12:]  # without RIFF and WEBP
    bits = struct.unpack_from("<I", image, 9)[0]  # sizes less one, in 14 bits each
    place = (
        three(at[0] // 2) + three(at[1] // 2) + three(bits & 0x3FFF) + three(bits >> 14 & 0x3FFF)
    )
    body = chunk(b"VP8X", b"\x12\0\0\0" + three(size[0] - 1) + three(size[1] - 1))
    body += chunk(b"ANIM", bytes([0, 0, 0, 0, 0, 0]))
    body += 2 * chunk(b"ANMF", place + three(100) + b"\0" + image)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
