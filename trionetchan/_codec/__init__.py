"""Value types and their values as bytes. The rest of the package uses the names below, and nothing else in here."""

from .codec import Codec, codec_for
from .compare import Difference, difference
from .schema import Schema

__all__ = ["Codec", "Difference", "Schema", "codec_for", "difference"]
