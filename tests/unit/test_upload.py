"""Forms with a file, whatever pieces they come in: the file is what was sent, and what is no form is refused."""

import asyncio
import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from varsel.ui.upload import NotAForm, TooLarge, read_upload

BOUNDARY = b"----WebKitFormBoundaryX"


def form(data: bytes, name: str = "rows.csv") -> bytes:
    token = b'--%b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\nabc\r\n' % BOUNDARY
    file = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\nContent-Type: text/csv\r\n\r\n' % (
        BOUNDARY,
        name.encode(),
    )
    return token + file + data + b"\r\n--" + BOUNDARY + b"--\r\n"


def read(body: bytes, cuts: list[int], most: int = 10_000) -> tuple[dict[str, str], str, bytes]:
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[start:end] for start, end in pairwise(edges)]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": pieces.pop(0) if pieces else b"", "more_body": bool(pieces)}

    headers = [(b"content-type", b"multipart/form-data; boundary=" + BOUNDARY)]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    file = io.BytesIO()
    fields, name = asyncio.run(read_upload(request, file, most))
    return fields, name, file.read()


@given(st.binary(max_size=300), st.lists(st.integers(0, 2_000), max_size=8))
def test_a_file_comes_whole_whatever_pieces_it_is_sent_in(data: bytes, cuts: list[int]) -> None:
    fields, name, content = read(form(data), cuts)
    assert (fields, content) == ({"form_token": "abc"}, data)
    assert name == ("rows.csv" if data else "")


@given(st.binary(max_size=300), st.lists(st.integers(0, 2_000), max_size=4))
def test_any_bytes_are_a_form_or_refused(data: bytes, cuts: list[int]) -> None:
    for body in (data, form(b"x")[: len(data)] + data):
        try:
            read(body, cuts)
        except NotAForm:
            continue


def test_a_path_is_no_part_of_a_files_name_and_a_large_file_is_not_read_on() -> None:
    assert read(form(b"x", "C:\\folder\\rader.csv"), [])[1] == "rader.csv"
    with pytest.raises(TooLarge):
        read(form(b"x" * 101), [], most=100)


def test_a_line_that_looks_almost_like_the_boundary_belongs_to_the_file() -> None:
    data = b"a\r\n--" + BOUNDARY[:-1] + b"\r\n"
    assert read(form(data), [])[2] == data
