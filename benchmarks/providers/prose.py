"""The words of the benchmark: sentences whose true number of tokens is known, so that a pool can bill them.

The numbers are those of `o200k_base`, each sentence with the space before it, counted by tiktoken
(https://github.com/openai/tiktoken). A space before a sentence begins a new piece in that vocabulary, so that the
tokens of a text are the sum of its sentences' tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

QUESTIONS = (
    ("Summarise the main argument of this paragraph and say whether the evidence supports it.", 17),
    ("What is the total in the last row of this table, and how was it calculated?", 18),
    ("Explain step by step how many bars are taller than the one for 1998.", 17),
    ("Describe the picture briefly, then list every object that you can identify with confidence.", 16),
    ("Which of these statements is true, and why are the other ones wrong?", 15),
    ("Translate the label on the bottle and tell me whether it contains any nuts.", 15),
)
"""(sentence, tokens)"""
ANSWERS = (
    (
        "The chart compares quarterly revenue for three regions, "
        "and the northern region grew fastest after the second quarter.",
        20,
    ),
    ("If both angles are equal, the remaining angle follows from the fact that all three add up to 180 degrees.", 23),
    ("Subtracting the discount first and applying tax afterwards gives 48.60, not 49.10 as the receipt claims.", 26),
    (
        "There are seven blue circles, but two of them overlap, so a careful count depends on what you call separate.",
        23,
    ),
    ("Photosynthesis converts carbon dioxide and water into glucose, releasing oxygen as a by-product.", 17),
    ("The function returns early when the list is empty, which is why the average is never computed.", 19),
    ("In short, the warranty covers manufacturing defects for two years but excludes accidental damage.", 16),
    ("Because the axis starts at 40 rather than zero, the differences look considerably larger than they are.", 20),
    ("The treaty was signed in 1648 and ended a war that had lasted for thirty years.", 19),
    ("You could also rewrite the query with a window function, which avoids the nested subquery altogether.", 19),
    ("Antibiotics do not help against viruses, so the doctor will probably recommend rest and plenty of fluids.", 20),
    ("Multiply the numerator and denominator by the conjugate, then simplify the resulting fraction.", 16),
    ("The photograph shows a cyclist waiting at a red light beside a yellow delivery van.", 16),
    ("Most customers who cancelled mentioned the price, although slow support came up almost as often.", 17),
    ("1. Revenue: 4.2 million EUR (+12%); 2. Costs: 3.1 million EUR (-4%); 3. Margin: 26%.", 38),
    ("**Answer:** x = 7, because 3x - 5 = 16 and therefore 3x = 21.", 27),
    ("| Item | Qty | Price | |------|-----|-------| | Tea | 2 | 3.50 | | Milk | 1 | 1.20 |", 36),
    ('def mean(rows): return sum(row["value"] for row in rows) / len(rows) if rows else None', 23),
    ("The area is 12.5 cm x 8 cm = 100 cm², so roughly 0.01 m² per tile.", 29),
    ("- Invoice no. 2024-0917, due 15 October, 1,284.00 EUR incl. 19% VAT.", 30),
)
"""(sentence, tokens)"""
CALL = ('{"city": "Lisbon", "days": 3}', 13)
"""The arguments of a tool's call, and their tokens."""
OBJECT = ('{"total": 42, "unit": "EUR", "explanation": "The sum of all rows."}', 24)
"""A reply that follows the schema of the benchmark's requests, and its tokens."""
_KNOWN = dict((*QUESTIONS, *ANSWERS, CALL, OBJECT))
_PIECE = re.compile(r" ?[A-Za-z]+| ?\d{1,3}|\s+|[^\w\s]")


@lru_cache(8_192)
def tokens_of(text: str) -> int:
    """Return the tokens of a text: exact for sentences of this module, a piece a word for anything else."""
    found = 0
    for line in text.split("\n"):
        found += _KNOWN[line] if line in _KNOWN else len(_PIECE.findall(line))
    return found


@lru_cache(8_192)
def pieces_of(text: str, tokens: int) -> Sequence[str]:
    """Return the text cut into as many pieces as it has tokens, as a server streams it."""
    edges = [round(len(text) * number / tokens) for number in range(tokens + 1)]
    return [text[a:b] for a, b in pairwise(edges)]
