"""The derived text of an HTML mail (channels 2.2, assertion 31)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.providers.html_text import text_of

words = st.text("abcdefæøå", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("Hei", "Hei"),
        ("<p>Hei  \n <b>Ola</b>!</p><p>Ha det</p>", "Hei Ola!\n\nHa det"),
        ("a<br>b<br/>c<div>d</div>e", "a\nb\nc\nd\ne"),
        ("<p>a</p><br><br><br><br><p>b</p>", "a\n\nb"),
        ("<ul><li>en</li><li>to</li></ul>", "- en\n- to"),
        ('Se <a href="https://etat.example/x?a=1&amp;b=2">saken</a>.', "Se saken (https://etat.example/x?a=1&b=2)."),
        ('<a href="https://etat.example">https://etat.example</a>', "https://etat.example"),
        ('<a href="mailto:hjelp@etat.example">hjelp@etat.example</a>', "hjelp@etat.example"),
        ('<a href="https://etat.example"><img src="x" alt="Logg inn"></a>', "Logg inn (https://etat.example)"),
        ('<a href="https://etat.example"></a>', "https://etat.example"),
        ('<a href="https://a.example">a<a href="https://b.example">b', "a (https://a.example)b (https://b.example)"),
        ('<a name="x">her</a> <a href="#x">topp</a> <a href="javascript:f()">f</a>', "her topp f"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("&aelig;&#248;&aring; &lt;b&gt; 1 &amp; 2", "æøå <b> 1 & 2"),
        ("<!-- hemmelig --><style>p{}</style><script>f('</p>')</script>x<title>t</title>", "x"),
        ("<STYLE>p{}</STYLE>a<script>never closed", "a"),
        ('<p title="a>b" class=x>c</p><p title=\'"\'>d</p>', "c\n\nd"),
        ('<a class="x" HREF = https://etat.example/it\'s>her</a>', "her (https://etat.example/it's)"),
        ("1 < 2 <3 & a<b> c</b>", "1 < 2 <3 & a c"),
        ("a<!DOCTYPE html><?xml?><!-- > -->b<!-- never closed", "ab"),
        ('a<p title="never closed> b', "a"),
        ("", ""),
    ],
)
def test_html_is_read_as_a_person_would_see_it(html: str, text: str) -> None:
    assert text_of(html) == text


@given(st.lists(st.tuples(st.sampled_from(["p", "b", "div", "li", "td", "script", "style", "title"]), words)))
@pytest.mark.assertion("channels", 31)
def test_every_visible_word_is_there_in_order_and_no_hidden_one(pieces: list[tuple[str, str]]) -> None:
    html = "".join(f"<{tag}>{tag.upper()}{word}</{tag}> " for tag, word in pieces)
    shown = [f"{tag.upper()}{word}" for tag, word in pieces if tag not in ("script", "style", "title")]
    assert text_of(html).replace("- ", "").split() == shown


@pytest.mark.parametrize(
    "piece", ["<!--", "<", "<![CDATA[", "<a href='", "&", "</", "<a ", "<a =", "<a> ", "<script>", " \n"]
)
def test_half_a_megabyte_of_anything_is_read_at_once(piece: str) -> None:
    begun = time.process_time()
    text_of(piece * (500_000 // len(piece)))
    assert time.process_time() - begun < 5  # seconds; the standard library's parser: up to 300


@given(st.text() | st.text("<>/!-a &;\"'=#[]?").map(str))
def test_any_text_is_read(html: str) -> None:
    text = text_of(html)
    assert "\n\n\n" not in text
    assert text == text.strip()
