"""Real images for the tests, each made by Pillow: red, green, blue and white quarters, clockwise from the top left."""

import struct
from io import BytesIO
from typing import Any

from PIL import Image, ImageCms, features

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", *(["AVIF"] if features.check("avif") else [])]
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
