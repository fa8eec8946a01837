"""The text of an answer: as long as the table says, ending with the recorded answer or a wrong one.

A reply of N tokens is N pieces of four characters. It can be cut, streamed and counted by token, and a reader that
counts four characters per token arrives at the table's count. A reply that `max_tokens` cuts loses its answer, as a
real reply would.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

TOKEN_CHARACTERS = 4
ANSWER_MARK = "Answer: "
_FILLER = "let you see now add one row and the sum for all the top bar set now see how far any two sit "


@dataclass(frozen=True, slots=True)
class SimulatedReply:
    """A candidate's reply: `text` in `tokens` pieces. `is_cut` is True if the token limit ended it."""

    text: str
    tokens: int
    is_cut: bool = False

    def piece(self, start: int, end: int) -> str:
        """Return the text of the tokens `start` to `end`; the last token includes the remaining characters."""
        if end >= self.tokens and not self.is_cut:
            return self.text[start * TOKEN_CHARACTERS :]
        return self.text[start * TOKEN_CHARACTERS : end * TOKEN_CHARACTERS]


def speak(answer: str, tokens: int, limit: int | None) -> SimulatedReply:
    """Return a reply of `tokens` tokens, filler words and then the answer, cut to `limit` tokens."""
    ending = ANSWER_MARK + answer
    filler = tokens - -(-len(ending) // TOKEN_CHARACTERS)
    spoken = SimulatedReply(text=_filler(filler) + ending if filler >= 0 else answer, tokens=tokens)
    return cut(spoken, limit)


def cut(spoken: SimulatedReply, limit: int | None) -> SimulatedReply:
    """Return the reply's first `limit` tokens."""
    if limit is None or limit >= spoken.tokens:
        return spoken
    return SimulatedReply(text=spoken.text[: limit * TOKEN_CHARACTERS], tokens=limit, is_cut=True)


def final_answer(text: str) -> str | None:
    """Return the answer at the end of a reply's text; None if the reply was cut before its answer."""
    _, mark, answer = text.rpartition(ANSWER_MARK)
    if mark:
        return answer
    return None if text[:TOKEN_CHARACTERS] == _FILLER[: len(text[:TOKEN_CHARACTERS])] else text


def right_answer(answer: str) -> str:
    """Return the recorded answer, or a fixed word if the table recorded none."""
    return answer or "correct"


def wrong_answer(answer: str, salt: str) -> str:
    """Return an answer that visibly differs from the recorded one; the same salt gives the same answer."""
    draw = zlib.crc32(f"{salt}\n{answer}".encode())
    if len(answer) == 1 and "A" <= answer <= "E":
        return "ABCDE"[("ABCDE".index(answer) + 1 + draw % 4) % 5]
    if answer.lstrip("-").isdecimal():
        return str(int(answer) + 1 + draw % 9)
    return f"incorrect-{draw % 10_000}"


def _filler(tokens: int) -> str:
    characters = tokens * TOKEN_CHARACTERS
    return (_FILLER * (characters // len(_FILLER) + 1))[:characters]
