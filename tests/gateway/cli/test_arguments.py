"""What words on the command line mean."""

from __future__ import annotations

import argparse

import pytest

from gateway.cli.arguments import members


def test_members_are_names_with_values() -> None:
    assert members("usd=5, period = day,zone=Europe/Berlin") == {"usd": "5", "period": "day", "zone": "Europe/Berlin"}


@pytest.mark.parametrize("words", ["usd=5,usd=500,period=day", "usd=5, usd =5"])
def test_a_member_that_stands_twice_is_refused(words: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="'usd' appears twice"):
        members(words)
