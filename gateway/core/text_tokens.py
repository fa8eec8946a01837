"""Tokens of a text from its length alone: what to expect, and what cannot be exceeded."""

from __future__ import annotations

BYTES_PER_TOKEN = 4


def expected_text_tokens(text_bytes: int) -> int:
    """Tokens to expect of `text_bytes` bytes of UTF-8: one per four bytes, rounded up.

    The rule of thumb that OpenAI and Google publish for English ("a token is about 4 characters"). It is an
    estimate to rank by: code and most other languages take more.
    """
    return -(-text_bytes // BYTES_PER_TOKEN)


def ceiling_text_tokens(text_bytes: int) -> int:
    """The most tokens that `text_bytes` bytes of UTF-8 can become: one per byte, and one more.

    Byte-level BPE (GPT, Llama 3, Qwen) starts from one token per byte and only ever merges. SentencePiece
    with byte fallback (Gemma, Mistral, Llama 2) covers a character by one piece or by one token per byte of
    it. Both tile the text: no token stands for less than a byte. The one more is the space that SentencePiece
    puts in front. What a chat template adds is counted per message, elsewhere.

    The bound is of the text as it is tokenized. A tokenizer that first normalises to NFC (Qwen) shortens
    nearly every text, but the few characters that NFC takes apart grow in it, up to threefold.
    """
    return text_bytes + 1 if text_bytes > 0 else 0
