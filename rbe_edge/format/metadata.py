"""What the metadata of a `.rbe` file can hold (docs/format.md, section 3)."""

from __future__ import annotations

#: Whole numbers are from 0 to 2^64 - 1, real ones finite.
MetadataValue = int | float | str | tuple[int, ...]
