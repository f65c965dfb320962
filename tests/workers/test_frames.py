"""The headers that pass between the proxy and its children."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.workers.frames import (
    LENGTH,
    Answer,
    Evaluated,
    Evaluation,
    Failed,
    Job,
    Progress,
    Ready,
    SharedRows,
    Training,
    decode_answer,
    decode_job,
    encode,
)

text = st.text(st.characters(blacklist_categories=["Cs"]))
answers = (
    st.just(Ready())
    | st.builds(
        Progress,
        phase=text,
        iterations_done=st.integers(0, 2**63 - 1),
        iterations_total=st.integers(0, 2**63 - 1),
        loss=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    )
    | st.builds(
        Evaluated,
        metrics=st.dictionaries(text, st.none() | st.integers(0, 9) | st.lists(st.integers(0, 9))),
        notices=st.lists(text),
    )
    | st.builds(Failed, sqlstate=text, message=text, detail=st.none() | text, hint=text)
)


@given(answers)
def test_frame_is_read_as_it_was_written(answer: Answer) -> None:
    """decode(encode(answer)) is the answer, and the length counts exactly its body."""
    frame = encode(answer)
    (length,) = LENGTH.unpack(frame[: LENGTH.size])
    assert length == len(frame) - LENGTH.size
    assert decode_answer(frame[LENGTH.size :]) == answer


rows = st.builds(
    SharedRows,
    description=st.dictionaries(text, text),
    extents=st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40))),
    size_bytes=st.integers(1, 2**40),
)
jobs = st.builds(
    Training, algorithm=text, parameters=st.dictionaries(text, st.none() | text), rows=rows
) | st.builds(Evaluation, rows=rows, payload_size_bytes=st.integers(0, 2**40))


@given(jobs)
def test_job_is_read_as_it_was_written(job: Job) -> None:
    """decode(encode(job)) is the job."""
    assert decode_job(encode(job)[LENGTH.size :]) == job


@pytest.mark.parametrize("body", [b"", b"{}", b'{"type":"Training"}', b"[1]", b"\x80\x04N."])
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    """Bytes of another form, a pickle among them, are an error and nothing else."""
    with pytest.raises(msgspec.DecodeError):
        decode_answer(body)
    with pytest.raises(msgspec.DecodeError):
        decode_job(body)
