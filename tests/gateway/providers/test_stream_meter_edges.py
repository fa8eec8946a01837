"""The meter of streams that are as the standard allows them, and as few providers send them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.billing.usage import Usage
from gateway.providers.stream_meter import MOST_HELD_BACK, MOST_KEPT, StreamMeter
from tests.gateway.providers.harness.streams import DONE, PLAIN, ROLE, STREAMS, chunk, ended, event, said, usage
from tests.gateway.providers.test_stream_meter import CANDIDATE, EXTRA, payloads, relayed, state


def fed(pieces: list[bytes], **options: Any) -> tuple[bytes, StreamMeter]:
    """What goes to the client as the relay asks for it: with the bytes of an event that has no end."""
    meter = StreamMeter(CANDIDATE, wants_usage=True, **options)
    out = b"".join(meter.feed(piece) for piece in pieces)
    return out + meter.flush() + meter.finish(EXTRA), meter


@pytest.mark.parametrize("size", [1, 2, 50, 10_000])
@pytest.mark.parametrize("name", [name for name in STREAMS if "CRLF" not in name and name != "nothing"])
def test_lines_may_end_with_a_carriage_return_only(name: str, size: int) -> None:
    plain = STREAMS[name].data
    data = plain.replace(b"\n", b"\r")
    out, meter = relayed([data[at : at + size] for at in range(0, len(data), size)])
    expected, other = relayed([plain])
    assert out == expected
    assert state(meter) == state(other)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 10_000])
def test_a_byte_order_mark_at_the_beginning_is_left_out(size: int) -> None:
    data = b"\xef\xbb\xbf" + b"".join((*PLAIN, chunk(usage=usage()), DONE))
    out, meter = relayed([data[at : at + size] for at in range(0, len(data), size)])
    assert out == relayed([data[3:]])[0]
    assert meter.usage == Usage(11, 7)


@pytest.mark.parametrize("cut", [b"\n\n", b"\n", b""])
@pytest.mark.parametrize("last", [ended(usage=usage()), chunk(usage=usage()), DONE, said(" more")])
def test_the_last_event_may_lack_its_empty_line(last: bytes, cut: bytes) -> None:
    begun = [*PLAIN] if last != said(" more") else [*PLAIN[:-1]]
    out, meter = fed([b"".join(begun) + last[:-2] + cut])
    expected, other = fed([b"".join(begun) + last])
    assert out == expected
    assert state(meter) == state(other)


def test_half_an_event_at_the_end_is_not_sent_on() -> None:
    out, _ = fed([*PLAIN[:-1], said("lost")[:-12]])
    assert b"lost" not in out


def over_lines(data: bytes) -> bytes:
    """The same event with a `data:` line for each of its members."""
    lines = data[6:-2].replace(b',"', b',\ndata: "')
    return b"data: " + lines + b"\n\n"


@pytest.mark.parametrize("last", [ended(usage=usage()), chunk(usage=usage())])
def test_an_event_of_several_lines_stays_whole(last: bytes) -> None:
    out, meter = fed([over_lines(said("Hello")) + over_lines(ended()) + over_lines(last) + DONE])
    found = payloads(out)
    assert meter.usage == Usage(11, 7)
    assert found[-1]["x_route"] == EXTRA["x_route"]
    assert {payload["model"] for payload in found} == {CANDIDATE}
    assert all(line.startswith(b"data: ") for line in out.split(b"\n") if line)


INNER = {"model": "inner", "of": [{"model": "deeper"}]}


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize(
    "members",
    [{"route": INNER}, {"choices": [{"index": 0, "delta": {"content": [{"type": "x", "text": "a", **INNER}]}}]}],
)
@pytest.mark.parametrize("first", [True, False])
def test_only_an_events_own_model_is_renamed(members: dict[str, Any], copies: int, first: bool) -> None:
    choices = [{"index": 0, "delta": {"content": "a"}}]
    payload = {"choices": choices, **members}
    payload = {"model": "served", **payload} if first else {**payload, "model": "served"}
    data = event(json.dumps(payload).encode()) * copies
    for pieces in ([data], [said("Hello"), data], [said("Hello"), said("x") + data], [data + ended()]):
        found = [each for each in payloads(fed(pieces)[0]) if members.keys() <= each.keys() and "id" not in each]
        assert found == [
            {**payload, "model": CANDIDATE, **({"x_route": 0} if "x_route" in each else {})} for each in found
        ]


def test_a_model_that_is_only_inside_is_left_alone() -> None:
    payload = {"choices": [{"index": 0, "delta": {"content": "a"}}], "route": INNER}
    data = event(json.dumps(payload).encode())
    assert fed([data])[0].startswith(data)
    assert fed([said("Hello"), data])[0].endswith(data + DONE)


def test_a_finish_reason_goes_before_what_other_choices_say_later() -> None:
    pieces = [said("a", 0), said("b", 1), ended(0), b": ping\n\n", said("c", 1), said("d", 1), ended(1), DONE]
    for found in (fed(pieces, choices=2), fed([b"".join(pieces)], choices=2)):
        order = [
            (choice["index"], choice["finish_reason"] or choice["delta"]["content"])
            for payload in payloads(found[0])
            for choice in payload["choices"]
        ]
        assert order == [(0, "a"), (1, "b"), (0, "stop"), (1, "c"), (1, "d"), (1, "stop")]
        assert found[1].complete


def test_a_reply_is_complete_once_all_its_choices_are() -> None:
    meter = StreamMeter(CANDIDATE, wants_usage=True, choices=2)
    meter.feed(said("a", 0) + ended(0))
    assert (meter.finished, meter.complete) == (True, False)
    meter.feed(ended(0))
    assert not meter.complete
    meter.feed(ended(1))
    assert meter.complete


DELTAS = (
    {"content": "a"},
    {"refusal": "no"},
    {"reasoning_content": "hm"},
    {"reasoning": "hm"},
    {"audio": {"data": "x"}},
)
CALL = {"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "", "arguments": ""}}]}


@pytest.mark.parametrize("delta", [*DELTAS, CALL])
def test_a_stream_is_committed_by_what_it_says(delta: dict[str, Any]) -> None:
    meter = StreamMeter(CANDIDATE, wants_usage=True)
    assert meter.feed(b": hello\n\n" + ROLE) == b""
    assert not meter.committed
    out = meter.feed(chunk([{"index": 0, "delta": delta, "finish_reason": None}]))
    assert meter.committed
    assert out.startswith(b": hello\n\n")
    assert len(payloads(out)) == 2


def test_a_stream_is_committed_by_its_finish_reason() -> None:
    meter = StreamMeter(CANDIDATE, wants_usage=True)
    assert len(payloads(meter.feed(ROLE + ended()))) == 1
    assert meter.committed


def test_comments_never_commit_a_stream_and_too_many_are_dropped() -> None:
    meter = StreamMeter(CANDIDATE, wants_usage=True)
    for _ in range(MOST_HELD_BACK // 10):
        assert meter.feed(b": PROCESSING\n\n") == b""
    assert not meter.committed
    assert len(meter.feed(said("Hello"))) < MOST_HELD_BACK + 1_000


def test_chunks_without_words_go_on_when_there_are_too_many() -> None:
    meter = StreamMeter(CANDIDATE, wants_usage=True)
    pieces = [ROLE] * (MOST_HELD_BACK // len(ROLE) + 2)
    out = b"".join(meter.feed(piece) for piece in pieces)
    assert meter.committed
    assert len(payloads(out)) == len(pieces)


@pytest.mark.slow
def test_of_a_long_stream_little_is_kept_and_all_is_counted() -> None:
    pieces = [said("word " * 20)] * 10_000
    meter = StreamMeter(CANDIDATE, wants_usage=True)
    for piece in pieces:
        meter.feed(piece)
        assert sum(map(len, meter._seen)) <= MOST_KEPT
    assert meter.output_tokens_seen() == 250_000
    assert meter.said() == "word " * 200_000


def test_one_large_event_in_many_small_chunks_is_put_together_once() -> None:
    event = said("a" * 3_000_000)
    chunks = [event[start : start + 1_400] for start in range(0, len(event), 1_400)]
    for before in (b"", said("x")):
        meter = StreamMeter("mine", wants_usage=False)
        sent = meter.feed(before) if before else b""
        for each in chunks:
            assert len(meter._tail) <= 1_400 or each is chunks[-1]
            sent += meter.feed(each)
        assert b"a" * 3_000_000 in sent
