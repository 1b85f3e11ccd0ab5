"""Pictures as files: written under the hash of their pixels, and read with care."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import StorageError, UserError
from luthier.images.drawing import Pixels
from luthier.ledger.cache import default_cache_path
from luthier.safety.plain_files import read_plain

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_BYTES = 30_000_000
MOST_PIXELS = 40_000_000  # what a file may unpack to; beyond it is no picture of a task


def pictures_folder() -> Path:
    """Where drawn pictures are kept: beside the cache of responses."""
    return default_cache_path().parent / "pictures"


def keep_picture(pixels: Pixels, folder: Path | None = None) -> Path:
    """Write a picture as a PNG under the hash of its pixels; returns its path.

    Equal pictures are one file. StorageError where it cannot be written.
    """
    shape = repr(pixels.shape).encode()
    name = hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).hexdigest()
    path = (folder or pictures_folder()) / name[:2] / f"{name}.png"
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(png_bytes(pixels))
        Path(scratch).chmod(0o644)
        os.replace(scratch, path)
    except OSError as error:
        raise StorageError(
            f"Could not write {path}: {error.strerror or error}",
            next_step="Free some space, or point LUTHIER_CACHE to another folder.",
        ) from error
    return path


def png_bytes(pixels: Pixels, *, side: int | None = None) -> bytes:
    """A picture as a PNG file; `side` shrinks it to so many pixels on its longer side."""
    picture = _pillow().fromarray(pixels)
    if side is not None and max(picture.size) > side:
        picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def open_picture(path: str | Path) -> Pixels:
    """The pixels of a PNG, JPEG or WebP file as (height, width, 3) bytes.

    Pictures of other modes (grey, palettes, 16 bits) become colours, and what is transparent
    becomes white. UserError for a file that is missing, broken, no picture, or too large.
    """
    pillow = _pillow()
    try:
        data = read_plain(path, most=MOST_BYTES)
        picture = pillow.open(io.BytesIO(data), formats=FORMATS)
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise _unreadable(path, error) from error
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise UserError(
            f"{path} unpacks to {width:,} × {height:,} pixels, more than {MOST_PIXELS:,}",
            next_step="Make it smaller.",
        )
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    return np.array(_in_colours(pillow, picture), dtype=np.uint8)


def resized(pixels: Pixels, side: int) -> Pixels:
    """A picture in a square of `side` pixels: its middle, shrunk or enlarged."""
    picture = _pillow().fromarray(pixels)
    least = min(picture.size)
    left, top = ((extent - least) // 2 for extent in picture.size)
    cut = picture.crop((left, top, left + least, top + least))
    return np.asarray(cut.resize((side, side)), dtype=np.uint8)


def _in_colours(pillow: Any, picture: Any) -> Any:
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits of grey
        grey = np.asarray(picture, dtype=np.float64)
        top = 65535.0 if grey.max(initial=0) > 255 else 255.0
        picture = pillow.fromarray((grey / top * 255).clip(0, 255).astype(np.uint8))
    if "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = pillow.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = pillow.alpha_composite(ground, picture)
    return picture.convert("RGB")


def _unreadable(path: str | Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0][:200]
    return UserError(
        f"{path} cannot be read as a picture: {reason}",
        choices=[form.lower() for form in FORMATS],
        next_step="Open it in a viewer, and save it again as PNG.",
    )


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError(
            "Pictures need the library Pillow, which is not installed",
            next_step="Install it: pip install 'luthier[images]'.",
        ) from error
    return Image
