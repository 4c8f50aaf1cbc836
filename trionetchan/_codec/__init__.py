"""Value types and their values as bytes. The rest of the package uses the names below, and nothing else in here."""

from .codec import Codec, codec_for
from .compare import Difference, difference
from .comparisons import Comparisons
from .schema import Schema

__all__ = ["Codec", "Comparisons", "Difference", "Schema", "codec_for", "difference"]
