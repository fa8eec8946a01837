"""What one attempt costs, at every point where it may end."""

from __future__ import annotations

from gateway.billing.price import cost, cost_with_cache
from gateway.billing.usage import Usage
from gateway.routing.decision import Assessment
from gateway.routing.query import Query


class Charge:
    """The running charge of one attempt. Until the request is sent it is zero; a reply cut short is charged its
    input plus what was seen, at most the hold; a complete one is charged its usage, or our own count of it.
    """

    __slots__ = ("_choice", "_query", "_sent", "granted", "metered", "usage")

    def __init__(self, choice: Assessment, query: Query) -> None:
        self._choice = choice
        self._query = query
        self._sent = False
        self.granted = 0
        self.usage = Usage(0, 0)
        self.metered = False

    @property
    def amount(self) -> int:
        """Nanodollars."""
        if not self._sent:
            return 0
        usage, price = self.usage, self._choice.candidate.price
        if usage.cached_tokens or usage.written_tokens:
            amount = cost_with_cache(
                price,
                usage.input_tokens,
                usage.output_tokens,
                cached_tokens=usage.cached_tokens,
                written_tokens=usage.written_tokens,
            )
        else:
            amount = cost(price, usage.input_tokens, usage.output_tokens)
        return min(amount, self.granted) if self.metered else amount

    @property
    def tokens(self) -> int:
        """Input and output, as far as there was any."""
        return self.usage.input_tokens + self.usage.output_tokens if self._sent else 0

    def sent(self) -> None:
        """The request is on its way: from here its input may be billed."""
        self._sent = True
        self.seen(0)

    def unsent(self) -> None:
        """The attempt failed before its first byte: it cost nothing."""
        self._sent = False
        self.usage, self.metered = Usage(0, 0), False

    def seen(self, output_tokens: int) -> None:
        """Our own count of what came, where the provider sent none. Before it speaks, a candidate that reasons has
        thought, unseen: as much as it does on average.
        """
        if output_tokens:
            output_tokens += self._choice.candidate.reasoning_tokens[0] * self._choice.choices
        self.usage, self.metered = Usage(self._choice.input_tokens, output_tokens), True

    def billed(self, usage: Usage) -> None:
        """The provider's own count."""
        self.usage, self.metered = usage, False
