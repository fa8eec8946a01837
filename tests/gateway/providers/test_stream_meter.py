"""The meter of streams: the same at every chunk size, and it changes nothing but the name and the end."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.billing.usage import Usage
from gateway.providers.stream_meter import StreamMeter
from tests.gateway.providers.harness.streams import (
    DONE,
    PLAIN,
    SERVED,
    STREAMS,
    TRICKY,
    Stream,
    chunk,
    ended,
    event,
    said,
    usage,
)

CANDIDATE = 'acme/vision "two"'
EXTRA = {"x_route": {"candidate": CANDIDATE, "cost_usd": 0.001}}
names = pytest.mark.parametrize("name", STREAMS)


def relayed(pieces: list[bytes], *, wants_usage: bool = True) -> tuple[bytes, StreamMeter]:
    """What goes to the client, the end included; and the meter."""
    meter = StreamMeter(CANDIDATE, wants_usage=wants_usage)
    out = b"".join(meter.feed(piece) for piece in pieces)
    broken = meter.failed or not (meter.done or meter.finished)
    return out + (meter.break_off("it broke", "broke_off") if broken else meter.finish(EXTRA)), meter


def state(meter: StreamMeter) -> tuple[Any, ...]:
    counted = meter.output_tokens_seen()
    return meter.usage, meter.done, meter.finished, meter.failed, counted, meter.finish_reason, meter.said()


def payloads(data: bytes) -> list[Any]:
    """The stream as a client reads it."""
    found = []
    for block in re.split(rb"\r?\n\r?\n", data):
        lines = [line[5:].strip() for line in block.splitlines() if line.startswith(b"data:")]
        if lines and lines != [b"[DONE]"]:
            found.append(json.loads(b"\n".join(lines)))
    return found


def texts_of(found: list[Any]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for payload in found:
        for choice in payload.get("choices") or ():
            texts[choice["index"]] = texts.get(choice["index"], "") + (choice["delta"].get("content") or "")
    return texts


@names
def test_stream_is_read_rightly(name: str) -> None:
    stream = STREAMS[name]
    out, meter = relayed([stream.data])
    assert meter.usage == (Usage(*stream.usage) if stream.usage else None)
    assert (meter.done, meter.finished, meter.failed) == (stream.done, stream.finished, stream.failed)
    assert tuple(texts_of(payloads(out)).values()) == stream.texts


@names
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_cut_gives_the_same_bytes_and_usage(name: str, every: int) -> None:
    data = STREAMS[name].data
    whole, meter = relayed([data])
    for cut in range(1, len(data), every):
        out, other = relayed([data[:cut], data[cut:]])
        assert out == whole, cut
        assert state(other) == state(meter), cut


@names
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 300])
def test_every_chunk_size_gives_the_same_bytes_and_usage(name: str, size: int) -> None:
    data = STREAMS[name].data
    whole, meter = relayed([data])
    out, other = relayed([data[i : i + size] for i in range(0, len(data), size)])
    assert out == whole
    assert state(other) == state(meter)


@given(st.data(), st.sampled_from(sorted(STREAMS)))
def test_any_cuts_give_the_same_bytes_and_usage(data: st.DataObject, name: str) -> None:
    stream = STREAMS[name].data
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, meter = relayed([stream])
    out, other = relayed(pieces)
    assert out == whole
    assert state(other) == state(meter)


@names
def test_every_chunk_names_the_candidate(name: str) -> None:
    out, _ = relayed([STREAMS[name].data])
    assert {payload["model"] for payload in payloads(out) if "model" in payload} <= {CANDIDATE}


@names
def test_what_the_first_choice_said_is_what_a_client_reads(name: str) -> None:
    stream = STREAMS[name]
    out, meter = relayed([stream.data])
    assert meter.said() == texts_of(payloads(out)).get(0, "")
    assert (meter.finish_reason is not None) == stream.finished


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_the_finish_reason_is_the_providers_word(reason: str) -> None:
    last = chunk([{"index": 0, "delta": {}, "finish_reason": reason}])
    _, meter = relayed([PLAIN[0] + PLAIN[1] + last + DONE])
    assert meter.finish_reason == reason


def test_a_finish_reason_that_is_no_short_word_is_none() -> None:
    last = chunk([{"index": 0, "delta": {}, "finish_reason": "x" * 41}])
    assert relayed([PLAIN[0] + last + DONE])[1].finish_reason is None


@names
@pytest.mark.parametrize("wants_usage", [True, False])
def test_last_data_event_carries_the_route(name: str, wants_usage: bool) -> None:
    out, meter = relayed([STREAMS[name].data], wants_usage=wants_usage)
    found = payloads(out)
    if meter.failed or not (meter.done or meter.finished):
        assert b"[DONE]" not in out.split(b'"content"')[-1]
        assert "x_route" not in found[-1]
        assert sum("error" in payload and payload["error"] is not None for payload in found) == 1
        return
    assert out.endswith(DONE)
    assert ["x_route" in payload for payload in found] == [False] * (len(found) - 1) + [True]
    assert found[-1]["x_route"] == EXTRA["x_route"]


@names
def test_all_but_names_and_ends_is_untouched(name: str) -> None:
    """Put the provider's names back and take the end away: what is left is what the provider sent."""
    stream = STREAMS[name]
    out, meter = relayed([stream.data])
    if name.startswith("the name comes late"):
        return
    mine = [_without(payload) for payload in payloads(out) if payload.get("error") is None or meter.failed]
    theirs = [_without(payload) for payload in payloads(stream.data[: _whole_events(stream.data)])]
    order = json.dumps
    assert sorted(map(order, mine)) == sorted(map(order, theirs))


@names
def test_comments_go_through(name: str) -> None:
    out, _ = relayed([STREAMS[name].data])
    comments = re.compile(rb"^: ?[\w ]+", re.M)
    assert comments.findall(out) == comments.findall(STREAMS[name].data)


def test_usage_that_the_client_did_not_ask_for_is_kept_back() -> None:
    out, meter = relayed([b"".join((*PLAIN, chunk(usage=usage()), DONE))], wants_usage=False)
    assert meter.usage == Usage(11, 7)
    assert not any("usage" in payload for payload in payloads(out))
    assert "x_route" in payloads(out)[-1]


def test_usage_that_was_asked_for_comes_last() -> None:
    out, _ = relayed([b"".join((*PLAIN, chunk(usage=usage()), DONE))])
    assert payloads(out)[-1]["usage"] == usage()
    assert payloads(out)[-2]["choices"][0]["finish_reason"] == "stop"


def test_text_that_looks_like_members_is_untouched() -> None:
    out, meter = relayed([said(TRICKY), said(TRICKY, ascii_only=False)])
    renamed = json.dumps(CANDIDATE).encode()
    expected = said(TRICKY) + said(TRICKY, ascii_only=False)
    assert out.startswith(expected.replace(json.dumps(SERVED).encode(), renamed))
    assert meter.usage is None
    assert not meter.done


def test_content_goes_on_at_once() -> None:
    meter = StreamMeter(CANDIDATE, wants_usage=True)
    assert payloads(meter.feed(said("Hello")))[0]["choices"][0]["delta"]["content"] == "Hello"
    assert meter.feed(ended()) == b""


LAYOUTS = (
    {"model": "m", "choices": [{"index": 0, "delta": {"content": "?"}, "finish_reason": None}], "usage": None},
    {"choices": [{"delta": {"role": "assistant", "content": "?"}, "index": 0}], "model": "m"},
    {
        "model": "m",
        "choices": [
            {"index": 0, "delta": {"content": "?"}, "finish_reason": "stop"},
            {"index": 1, "delta": {"content": "?"}, "finish_reason": None},
        ],
        "usage": None,
    },
    {"model": "m", "choices": [{"index": 0, "delta": {"content": "?"}}, {"index": 1, "delta": {"content": "model"}}]},
    {"model": "m", "choices": [{"index": 0, "delta": {"content": "?"}, "finish_reason": "stop"}]},
    {"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    {"error": {"message": "?"}},
)
WORDS = ("word", " ", "", 'a "quoted" one', "ends in a \\", "\n\n", '"usage": {"a": 1}', "[DONE]", '"model": "m"', "ä")


@given(
    st.lists(
        st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(WORDS) | st.text(max_size=9), st.booleans()), max_size=6
    )
)
def test_what_is_passed_on_does_not_hang_on_what_came_before(events: list[tuple[dict[str, Any], str, bool]]) -> None:
    """A stream's events are alike but for their words, and taken to be: as if each were the first."""
    meter = StreamMeter(CANDIDATE, wants_usage=True)
    for layout, words, is_ascii in events:
        text = json.dumps(layout, ensure_ascii=is_ascii).replace('"?"', json.dumps(words, ensure_ascii=is_ascii))
        data = event(text.encode("utf-8", "replace"))
        plain = StreamMeter(CANDIDATE, wants_usage=True).feed_plain(data)
        taken = meter.feed_plain(data)
        if plain is not None:
            assert taken == plain
        elif taken is not None:  # words that look like more than words to who reads them first
            assert taken == StreamMeter(CANDIDATE, wants_usage=True).feed(data)
            assert words == "[DONE]"


def test_our_own_count_is_a_token_an_event_or_four_bytes_a_token() -> None:
    _, many = relayed([said("a") * 10])
    _, long = relayed([said("a" * 400)])
    _, wide = relayed([said("\u00e4" * 400)])
    assert [m.output_tokens_seen() for m in (many, long, wide)] == [10, 100, 200]


def test_our_own_count_takes_tool_calls_and_no_roles() -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f" * 4, "arguments": "a" * 36}}
    delta = {"role": "assistant", "content": None, "tool_calls": [call]}
    _, meter = relayed([chunk([{"index": 0, "delta": delta, "finish_reason": None}])])
    assert meter.output_tokens_seen() == 10


def test_our_own_count_takes_what_is_held_back() -> None:
    last = chunk([{"index": 0, "delta": {"content": "a" * 40}, "finish_reason": "stop"}])
    _, meter = relayed([last, DONE])
    assert meter.output_tokens_seen() == 10


def test_stream_that_breaks_off_ends_in_an_error_event() -> None:
    out, _ = relayed([said("Hello"), ended()[:30]])
    assert payloads(out)[-1] == {
        "error": {"message": "it broke", "type": "provider_error", "code": "broke_off", "param": None}
    }


def test_what_was_held_back_is_sent_before_the_error() -> None:
    meter = StreamMeter(CANDIDATE, wants_usage=True)
    meter.feed(said("Hello") + ended())
    found = payloads(meter.break_off("it broke", "broke_off"))
    assert found[0]["choices"][0]["finish_reason"] == "stop"
    assert "error" in found[1]


def test_a_stream_that_was_done_without_a_finish_reason_ends_well() -> None:
    out, meter = relayed([said("Hello"), DONE])
    assert meter.done
    assert not meter.finished
    assert out.endswith(DONE)


@pytest.mark.parametrize("count", [2**62, 10**30])
def test_a_count_beyond_all_sense_is_no_usage(count: int) -> None:
    _, meter = relayed([b"".join((*PLAIN, chunk(usage=usage(11, count)), DONE))])
    assert meter.usage is None


@pytest.mark.parametrize("depth", [500, 990, 5_000, 100_000])
def test_nonsense_nested_deeply_goes_through(depth: int) -> None:
    nested = event(b'{"error":' + b"[" * depth + b"]" * depth + b"}")
    content = event(b'{"choices":[{"delta":{"content":' + b"[" * depth + b"]" * depth + b"}}]}")
    meter = StreamMeter(CANDIDATE, wants_usage=True)
    begun = meter.feed(said("Hello"))
    assert begun
    assert meter.feed(nested + content) == nested + content
    assert meter.output_tokens_seen() >= 0


@given(st.binary(max_size=200))
def test_no_bytes_break_the_meter(data: bytes) -> None:
    meter = StreamMeter(CANDIDATE, wants_usage=True)
    out = meter.feed(data) + meter.feed(b"data: " + data + b"\n\n") + meter.feed(b'data: {"usage":{' + data + b"\n\n")
    meter.output_tokens_seen()
    assert isinstance(out + meter.finish(EXTRA), bytes)


def _without(payload: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if name not in ("model", "x_route")}


def _whole_events(data: bytes) -> int:
    """Where the last whole event ends."""
    return max((match.end() for match in re.finditer(rb"\r?\n\r?\n", data)), default=0)


def test_the_streams_here_are_what_they_say() -> None:
    assert isinstance(STREAMS["no usage"], Stream)
    assert len(STREAMS) > 30
