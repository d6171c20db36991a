"""Expert-parallel tables count tokens per rank instead of bytes; the count stands in the variant and is a size."""

import pandas as pd

__all__ = ["PATTERN", "without_tokens"]

PATTERN = r"num_tokens_per_rank=(\d+);?"


def without_tokens(variant: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The variants without the token count, and the counts; NaN where a variant states none."""
    known = variant.notna()
    text = variant.astype(object).where(known, "").astype(str)
    if not text.str.contains("num_tokens", regex=False).any():
        return variant, pd.Series(float("nan"), variant.index)
    bare = text.str.replace(PATTERN, "", regex=True)
    return bare.where(known, None), pd.to_numeric(text.str.extract(PATTERN)[0])
