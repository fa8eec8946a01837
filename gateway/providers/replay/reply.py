"""The text of an answer: as long as the table says, with the recorded answer, or a wrong one, at its end.

A reply of N tokens is N pieces of four characters: it can be cut, streamed and counted by token, and a
reader who counts four characters a token comes to the table's count. A reply that `max_tokens` cuts loses its
answer, as a real one would.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

TOKEN_CHARACTERS = 4
ANSWER_MARK = "Answer: "
_FILLER = "let you see now add one row and the sum for all the top bar set now see how far any two sit "


@dataclass(frozen=True, slots=True)
class SimulatedReply:
    """What a candidate says: `text` in `tokens` pieces. `is_cut` where the limit ended it."""

    text: str
    tokens: int
    is_cut: bool = False

    def piece(self, start: int, end: int) -> str:
        """Text of the tokens `start` to `end`; the last token takes what is left over."""
        if end >= self.tokens and not self.is_cut:
            return self.text[start * TOKEN_CHARACTERS :]
        return self.text[start * TOKEN_CHARACTERS : end * TOKEN_CHARACTERS]


def speak(answer: str, tokens: int, limit: int | None) -> SimulatedReply:
    """Some words of filler, then the answer, `tokens` long; cut to `limit` tokens."""
    ending = ANSWER_MARK + answer
    filler = tokens - -(-len(ending) // TOKEN_CHARACTERS)
    spoken = SimulatedReply(text=_filler(filler) + ending if filler >= 0 else answer, tokens=tokens)
    return cut(spoken, limit)


def cut(spoken: SimulatedReply, limit: int | None) -> SimulatedReply:
    """The first `limit` tokens of it."""
    if limit is None or limit >= spoken.tokens:
        return spoken
    return SimulatedReply(text=spoken.text[: limit * TOKEN_CHARACTERS], tokens=limit, is_cut=True)


def final_answer(text: str) -> str | None:
    """The answer that a reply's text ends in; None where it was cut before it came to one."""
    _, mark, answer = text.rpartition(ANSWER_MARK)
    if mark:
        return answer
    return None if text[:TOKEN_CHARACTERS] == _FILLER[: len(text[:TOKEN_CHARACTERS])] else text


def right_answer(answer: str) -> str:
    """The recorded answer; a fixed word where the table recorded none."""
    return answer or "correct"


def wrong_answer(answer: str, salt: str) -> str:
    """An answer that is visibly another one; the same for the same salt."""
    draw = zlib.crc32(f"{salt}\n{answer}".encode())
    if len(answer) == 1 and "A" <= answer <= "E":
        return "ABCDE"[("ABCDE".index(answer) + 1 + draw % 4) % 5]
    if answer.lstrip("-").isdecimal():
        return str(int(answer) + 1 + draw % 9)
    return f"incorrect-{draw % 10_000}"


def _filler(tokens: int) -> str:
    characters = tokens * TOKEN_CHARACTERS
    return (_FILLER * (characters // len(_FILLER) + 1))[:characters]
