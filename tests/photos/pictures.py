"""Real images for the tests, each made by Pillow: red, green, blue and white quarters, clockwise from the top left."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image, ImageCms

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
FORMATS = ["JPEG", "PNG", "WEBP", "GIF"]
GPS = 0x8825
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><secret>my garden</secret></x:xmpmeta>'


def quarters(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Top: red, green; bottom: white, blue."""
    image = Image.new("RGB", (2, 2))
    image.putdata([RED, GREEN, WHITE, BLUE])
    return image.resize(size, Image.Resampling.NEAREST)


def encoded(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(format: str = "JPEG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    return encoded(quarters(size), format, **options)


def exif(orientation: int = 1) -> Image.Exif:
    """A block as a phone writes it: how to turn the picture, whose it is, and where it was taken."""
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "Maker of phones"
    block.get_ifd(GPS)[2] = (52.0, 31.0, 12.0)
    return block


def swapped_profile() -> bytes:
    """An RGB profile whose red is sRGB's blue and the other way round: what is stored as red has to be shown blue."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack(">I", profile[128:132])
    for entry in range(132, 132 + 12 * count, 12):
        name = bytes(profile[entry : entry + 4])
        profile[entry : entry + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return bytes(profile)


def white_profile() -> bytes:
    """A CMYK profile after which every ink is white: what is shown in colour was not converted by it."""
    inks, colours, grid, ramp = 4, 3, 2, bytes(range(256))
    matrix = struct.pack(">9i", *(65_536 * (row == column) for row in range(3) for column in range(3)))
    table = b"mft1\0\0\0\0" + bytes((inks, colours, grid, 0)) + matrix
    table += ramp * inks + bytes((255, 128, 128)) * grid**inks + ramp * colours  # in Lab: all white
    header = struct.pack(">I4xI4s4s4s12x4s", 144 + len(table), 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63_190, 65_536, 54_061)  # D50
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def corners(image: Image.Image) -> list[str]:
    """The names of the colours in the quarters: top left, top right, bottom left, bottom right."""
    names = {RED: "red", GREEN: "green", BLUE: "blue", WHITE: "white"}
    found = []
    for x, y in ((1, 1), (3, 1), (1, 3), (3, 3)):
        pixel = image.convert("RGB").getpixel((image.width * x // 4, image.height * y // 4))
        found.append(min(names, key=lambda colour: sum(abs(a - b) for a, b in zip(colour, pixel, strict=True))))
    return [names[colour] for colour in found]


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int = 64, height: int = 48, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG with four channels, all zero, and with chunks before and after the picture."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + bytes(4 * width)) * height))
    return b"\x89PNG\r\n\x1a\n" + header + before + rows + after + chunk(b"IEND")


def segment(marker: int, data: bytes) -> bytes:
    """A part of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(data)) + data


def jpeg_of_scans(count: int, size: tuple[int, int] = (8000, 5000)) -> bytes:
    """A progressive JPEG in grey, each of whose scans goes over the whole picture and changes nothing."""
    blocks = -(-size[0] // 8) * -(-size[1] // 8)
    tables = segment(0xDB, b"\0" + b"\1" * 64)
    for kind, symbol in ((0x00, 0x00), (0x10, 0xE0)):  # one code of one bit: no difference; the end of many blocks
        tables += segment(0xC4, bytes((kind, 1, *[0] * 15, symbol)))
    first = segment(0xDA, bytes((1, 1, 0, 0, 0, 0))) + bytes(-(-blocks // 8))
    runs = -(-blocks // 32_767)
    bits = ("0" + "1" * 14) * runs
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")
    again = segment(0xDA, bytes((1, 1, 0x10, 1, 63, 0x10))) + data
    frame = segment(0xC2, struct.pack(">BHHBBBB", 8, size[1], size[0], 1, 1, 0x11, 0))
    return b"\xff\xd8" + tables + frame + first + again * (count - 1) + b"\xff\xd9"


def jpeg_of_broken_entries() -> bytes:
    """A JPEG whose EXIF block has as many entries as there may be, each longer than the file."""
    entries = b"".join(struct.pack("<HHLL", tag, 1, 100_000_000, 8) for tag in range(65_535))
    block = b"II*\0" + struct.pack("<LH", 8, 65_535) + entries + bytes(4)
    parts = (block[start : start + 65_000] for start in range(0, len(block), 65_000))
    return picture()[:2] + b"".join(segment(0xE1, b"Exif\0\0" + part) for part in parts) + picture()[2:]


def gif_with_comment(size: int) -> bytes:
    """A GIF with so many bytes of comment, in blocks of two, before its picture."""
    content = picture("GIF")
    at = content.index(b",")
    return content[:at] + b"!\xfe" + b"\2no" * (size // 3) + b"\0" + content[at:]


def profile_of_elements(count: int) -> bytes:
    """An RGB profile by which each colour goes through so many matrices."""
    start, table = 144, 16 + 8 * count
    matrix = struct.pack(">4s4xHH12f", b"matf", 3, 3, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0.1, 0.1, 0.1)
    tag = struct.pack(">4s4xHHI", b"mpet", 3, 3, count) + struct.pack(">II", table, len(matrix)) * count + matrix
    header = struct.pack(">I4xI4s4s4s12x4s", start + len(tag), 0x04300000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63_190, 65_536, 54_061)  # D50
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"D2B0", start, len(tag)) + tag


PROFILE = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(1_000_000), 9))
# What each takes of a worker that does not refuse it: seconds of a processor, and memory beside 55 MB at rest.
BOMBS = {
    "a GIF with 19 MB of comment": lambda: gif_with_comment(19_000_000),  # 3 s, 911 MB
    "a PNG of empty chunks": lambda: png(before=chunk(b"teST") * 1_600_000),  # 9 s, 241 MB
    "a PNG of empty chunks behind the picture": lambda: png(after=chunk(b"teST") * 1_600_000),  # 4 s, 241 MB
    "a PNG of empty parts of the picture": lambda: png(before=chunk(b"IDAT") * 1_600_000),  # 1 s
    "a PNG of colour profiles": lambda: png(after=PROFILE * 19_000),  # 11 s
    "a JPEG of 2000 scans": lambda: jpeg_of_scans(2000),  # 45 s
    "a JPEG of EXIF blocks": lambda: picture()[:2] + segment(0xE1, b"Exif\0\0" + bytes(10)) * 900_000 + picture()[2:],
    "a line of 40 megapixels": lambda: png(40_000_000, 1),  # 678 MB
    "a column of 40 megapixels": lambda: png(1, 40_000_000),  # 2 s, 550 MB
}
