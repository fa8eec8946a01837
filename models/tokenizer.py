"""Texts to token ids, with the tokenizer that the encoder was trained with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models import clip_tokenizer as clip_text
from models.base import EncodeError

Cleaning = Literal["none", "clip"]
"""The cleaning of a text before it is tokenised: none, or that of `models.clip_tokenizer.clean`."""
_CLEANERS: Mapping[Cleaning, Callable[[str], str]] = {"none": str, "clip": clip_text.clean}

# Every tokenizer here makes at least one token of this many characters, except for runs of blanks. Text beyond the
# limit would be tokenised only to be cut off, and a prompt may be a megabyte.
CHARACTERS_PER_TOKEN = 32


class TextTokenizer:
    """A Hugging Face `tokenizer.json` that cuts texts at `max_tokens` (and keeps the closing token), and never pads."""

    def __init__(self, path: Path, max_tokens: int, cleaning: Cleaning = "none") -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception for a file that it cannot read
            raise EncodeError(f"{path} is not a tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._max_characters = max_tokens * CHARACTERS_PER_TOKEN
        self._clean = _CLEANERS[cleaning]

    def ids(self, text: str) -> NDArray[np.int64]:
        """Return the token ids [length] of one text; length is at most `max_tokens`. Lone surrogates count as `?`."""
        head = text[: self._max_characters].encode("utf-8", "replace").decode()
        encoding = self._tokenizer.encode(self._clean(head))
        return np.array(encoding.ids, dtype=np.int64)
