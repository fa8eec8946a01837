"""The cost of one attempt, at every point where the attempt may end."""

from __future__ import annotations

from gateway.billing.price import cost, cost_with_cache
from gateway.billing.usage import Usage
from gateway.routing.decision import Assessment
from gateway.routing.query import Query


class Charge:
    """The running charge of one attempt.

    Until the request is sent the charge is zero. A reply that was cut short is charged its input plus the output seen
    so far, at most the reservation. A complete reply is charged its usage, or our own count of it.
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
        """The charge so far, in nanodollars: never more than is reserved for it."""
        return min(self._told, self.granted)

    @property
    def exceeds_hold(self) -> bool:
        """True if the provider's own count costs more than is reserved, which a true count cannot."""
        return not self.metered and self._told > self.granted

    @property
    def tokens(self) -> int:
        """The input and output tokens so far: never more than may have been used."""
        if not self._sent:
            return 0
        choice = self._choice
        most = choice.input_ceiling + (choice.output_limit + choice.candidate.reasoning_tokens[1]) * choice.choices
        return min(self.usage.input_tokens + self.usage.output_tokens, most)

    @property
    def _told(self) -> int:
        """The cost of all tokens that were counted, in nanodollars."""
        if not self._sent:
            return 0
        usage, price = self.usage, self._choice.candidate.price
        if usage.cached_tokens or usage.written_tokens:
            return cost_with_cache(
                price,
                usage.input_tokens,
                usage.output_tokens,
                cached_tokens=usage.cached_tokens,
                written_tokens=usage.written_tokens,
            )
        return cost(price, usage.input_tokens, usage.output_tokens)

    def believes(self, usage: Usage) -> bool:
        """Return whether the request can have used this much: some input, and no more than was let through."""
        choice = self._choice
        most = (choice.output_limit + choice.candidate.reasoning_tokens[1]) * choice.choices
        return 0 < usage.input_tokens <= choice.input_ceiling and usage.output_tokens <= most

    def sent(self) -> None:
        """Note that the request was sent: from now on its input may be billed."""
        self._sent = True
        self.seen(0)

    def unsent(self) -> None:
        """Note that the attempt failed before its first byte: it cost nothing."""
        self._sent = False
        self.usage, self.metered = Usage(0, 0), False

    def abandoned(self) -> None:
        """Note that the provider was still at work when the time was up: it may bill its work.

        The charge is the input and the forecast output, at most the reservation.
        """
        self.usage, self.metered = Usage(self._choice.input_tokens, self._choice.output_tokens), True

    def seen(self, output_tokens: int) -> None:
        """Count the output ourselves, because the provider sent no usage.

        A candidate that reasons has done so before its first words, unseen by us: its average reasoning tokens are
        added.
        """
        if output_tokens:
            output_tokens += self._choice.candidate.reasoning_tokens[0] * self._choice.choices
        self.usage, self.metered = Usage(self._choice.input_tokens, output_tokens), True

    def billed(self, usage: Usage, seen: int = 0) -> None:
        """Take the provider's own count; but our own instead of an input of 0, and of less output than was `seen`.

        Every request has a prompt, and words are made of tokens. `seen` is our count of the output, or 0 where the
        provider's is to be believed.
        """
        if usage.input_tokens and usage.output_tokens >= seen:
            self.usage, self.metered = usage, False
            return
        self.seen(seen)
        own = self.usage
        if usage.input_tokens:
            self.usage = usage._replace(output_tokens=own.output_tokens)
        elif usage.output_tokens >= seen:
            self.usage = own._replace(output_tokens=usage.output_tokens, reasoning_tokens=usage.reasoning_tokens)
