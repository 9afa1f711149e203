"""Links in texts and HTML: found as phones, browsers and mail programs find them, and judged (channels 6.7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.hosts import is_ip_address, mixes_scripts, to_a_labels, within
from varsel.domain.links import (
    SHORTENERS,
    Allowed,
    Fault,
    Link,
    fault_of,
    faults,
    is_active,
    links_of_html,
    links_of_text,
)

ALLOWED = Allowed(("altinn.no", "xn--blbr-roah.example"))


def found(text: str) -> list[str]:
    return [link.url for link in links_of_text(text)]


def faults_of_html(html: str) -> list[Fault]:
    return [fault for _, fault in faults(links_of_html(html), ALLOWED)]


# Found in plain text


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("Logg inn på https://altinn.no/brev?id=1, takk.", ["https://altinn.no/brev?id=1"]),
        ("(se http://altinn.no/a_(b))", ["http://altinn.no/a_(b"]),
        ("altinn.no", ["https://altinn.no"]),
        ("ALTINN.NO/BREV", ["https://ALTINN.NO/BREV"]),
        ("www.altinn.no:8443/x", ["https://www.altinn.no:8443/x"]),
        ("blåbær.example/x", ["https://blåbær.example/x"]),
        ("пример.рф", ["https://пример.рф"]),
        ("Se:https://altinn.no", ["https://altinn.no"]),
        ("ftp://altinn.no javascript://x", ["ftp://altinn.no", "javascript://x"]),
        ("https://a.example https://b.example", ["https://a.example", "https://b.example"]),
        ("1https://evil.example", ["https://evil.example"]),
    ],
)
def test_what_a_phone_would_make_a_link_is_one(text: str, urls: list[str]) -> None:
    assert found(text) == urls


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hei.Når du kommer, ring oss.No kan du det.",
        "f.eks. kl. 10.30, 12.10.2026 eller bl.a. i dag",
        "kari.nordmann@altinn.no",
        "vedlegg.pdf og 1.000,50 kr",
        "Sak 2026/114-3: svar innen 14.dager",
        "$recipientName$",
    ],
)
def test_ordinary_sentences_hold_no_links(text: str) -> None:
    assert found(text) == []


@given(st.text(max_size=200))
def test_any_text_and_any_markup_is_read(text: str) -> None:
    for link in (*links_of_text(text), *links_of_html(text)):
        fault_of(link, ALLOWED)
    is_active(text)


hosts = st.from_regex(r"[a-z]{1,8}\.(no|com|example)", fullmatch=True)
words = st.text("abcæøå .,-:!?()", max_size=20)


@given(words, hosts, st.sampled_from(["", "/", "/brev/1?x=2"]), words)
def test_no_text_around_it_hides_a_link(before: str, host: str, path: str, after: str) -> None:
    text = f"{before} https://{host}{path} {after}"
    assert f"https://{host}{path}" in found(text)


# Judged


@pytest.mark.parametrize(
    "url",
    [
        "https://altinn.no",
        "HTTPS://ALTINN.NO/BREV",
        "https://info.altinn.no./brev?x=http://evil.example",
        "https://altinn.no:443/",
        "https://blåbær.example/",
        "https://XN--BLBR-ROAH.example/",
        "mailto:post@annen.example",
        "tel:+4799999500",
        " https://altinn.no ",
    ],
)
def test_a_link_to_an_allowed_domain_passes(url: str) -> None:
    assert fault_of(Link(url), ALLOWED) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://altinn.no/", Fault.NOT_HTTPS),
        ("//altinn.no/", Fault.NOT_HTTPS),
        ("/brev", Fault.NOT_HTTPS),
        ("brev", Fault.UNREADABLE),
        ("https:altinn.no", Fault.UNREADABLE),
        ("https://", Fault.UNREADABLE),
        ("https://$recipientName$.altinn.no/", Fault.UNREADABLE),
        ("https://altinn.no\\@evil.example/", Fault.UNREADABLE),
        ("https:\\\\evil.example/", Fault.UNREADABLE),
        ("https://evil.example/altinn.no", Fault.FOREIGN),
        ("https://altinn.no.evil.example/", Fault.FOREIGN),
        ("https://evilaltinn.no/", Fault.FOREIGN),
        ("https:////evil.example/", Fault.FOREIGN),
        ("https://e%76il.example/", Fault.FOREIGN),
        ("https://altinn.no@evil.example/", Fault.USER_INFO),
        ("https://altinn.no:x@evil.example/", Fault.USER_INFO),
        ("https://192.0.2.1/", Fault.IP_ADDRESS),
        ("https://3221225985/", Fault.IP_ADDRESS),
        ("https://0xC0000201/", Fault.IP_ADDRESS),
        ("https://[2001:db8::1]/", Fault.IP_ADDRESS),
        ("https://altinn.no:8443/", Fault.PORT),
        ("https://bit.ly/x", Fault.SHORTENER),
        ("https://www.tinyurl.com/x", Fault.SHORTENER),
        ("https://аltinn.no/", Fault.MIXED_SCRIPTS),  # the first letter is Cyrillic
        ("https://xn--ltinn-3ve.no/", Fault.MIXED_SCRIPTS),
        ("javascript:alert(1)", Fault.SCHEME),
        ("java\nscript:alert(1)", Fault.SCHEME),
        ("data:text/html,x", Fault.SCHEME),
        ("file:///etc/passwd", Fault.SCHEME),
    ],
)
def test_any_other_link_is_named_by_what_is_wrong_with_it(url: str, fault: Fault) -> None:
    assert fault_of(Link(url), ALLOWED) is fault


def test_where_links_are_only_warned_of_tls_may_be_missing() -> None:
    lenient = Allowed(("altinn.no",), http=True)
    assert fault_of(Link("http://altinn.no"), lenient) is None
    assert fault_of(Link("http://altinn.no:443"), lenient) is Fault.PORT
    assert fault_of(Link("ftp://altinn.no"), lenient) is Fault.SCHEME


def test_a_short_form_may_be_allowed_by_its_own_name() -> None:
    assert fault_of(Link("https://bit.ly/x"), Allowed(("bit.ly",))) is None


def test_without_domains_no_link_is_allowed() -> None:
    assert fault_of(Link("https://altinn.no"), Allowed(())) is Fault.FOREIGN


@given(hosts, hosts)
def test_a_host_is_allowed_only_when_it_is_or_lies_under_a_domain(host: str, domain: str) -> None:
    allowed = fault_of(Link(f"https://{host}/"), Allowed((domain,))) is None
    assert allowed == (host == domain)
    assert fault_of(Link(f"https://a.b.{domain}/"), Allowed((domain,))) is None


# Found in HTML


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<a href="https://altinn.no/x">Les brevet</a>', []),
        ("<p>Se altinn.no</p><p>Hei</p>", []),
        ("<a href='https://evil.example'>Les</a>", [Fault.FOREIGN]),
        ("<a href=https://evil.example>Les</a>", [Fault.FOREIGN]),
        ('<a href="&#104;ttps://evil.example">Les</a>', [Fault.FOREIGN]),
        ('<A HREF="https://evil.example">Les', [Fault.FOREIGN]),
        ('<img src="https://evil.example/pixel.gif">', [Fault.FOREIGN]),
        ('<img srcset="https://altinn.no/a 1x, https://evil.example/b 2x">', [Fault.FOREIGN]),
        ('<form action="https://evil.example">', [Fault.FOREIGN]),
        ('<td background="http://altinn.no/x">', [Fault.NOT_HTTPS]),
        ("Se evil<b>.example</b>", [Fault.FOREIGN]),
        ('<noscript><a href="https://evil.example">Les</a></noscript>', [Fault.FOREIGN]),
        ('<!--[if mso]><a href="https://evil.example">Les</a><![endif]-->', [Fault.FOREIGN]),
        ('<!-- <a href="https://evil.example">Les</a> -->', []),
        ('<a href="#a">https://evil.example</a>', [Fault.FOREIGN]),
        ('<a href="#a">Les mer</a><a name="a">Mer</a>', []),
        ('<a href="mailto:post@annen.example">post@annen.example</a>', []),
    ],
)
def test_every_place_of_a_link_in_html_is_looked_at(html: str, expected: list[Fault]) -> None:
    assert faults_of_html(html) == expected


@pytest.mark.parametrize(
    ("shown", "honest"),
    [
        ("Les brevet", True),
        ("altinn.no", True),
        ("www.altinn.no", True),
        ("https://info.altinn.no/brev/114", True),
        ("no", True),
        ("bank.example", False),
        ("https://www.bank.example/konto", False),
        ("<b>bank</b>.example", False),
        ("Gå til bank.example nå", False),
    ],
)
def test_a_link_that_shows_another_host_is_wrong(shown: str, honest: bool) -> None:
    assert faults_of_html(f'<a href="https://info.altinn.no/x">{shown}</a>') == ([] if honest else [Fault.OTHER_TEXT])


def test_links_are_told_by_their_number_in_the_text() -> None:
    html = '<a href="https://altinn.no">1</a><img src="http://altinn.no/x"> evil.example'
    assert faults(links_of_html(html), ALLOWED) == [(2, Fault.NOT_HTTPS), (3, Fault.FOREIGN)]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 300_000,
        "a." * 150_000,
        "<a" * 150_000,
        "https:/" * 40_000,
        "a-" * 150_000,
        '<a href="' * 30_000,
        "x@" * 99_999,
    ],
    ids=lambda text: text[:9],
)
def test_no_text_takes_long(text: str) -> None:
    """Each would take hours, were reading it not linear."""
    links_of_text(text)
    links_of_html(text)


# Markup that does something


@pytest.mark.parametrize(
    "html",
    [
        "<script>x</script>",
        "<SCRIPT src=x>",
        "<form>",
        "<input>",
        "<iframe src=x>",
        "<object>",
        "<link rel=stylesheet href=x>",
        "<base href=x>",
        '<meta http-equiv="Refresh" content="0;url=x">',
        '<p onclick="x">',
        "<img src=x onerror=alert(1)>",
        "<!--[if mso]><script>x</script><![endif]-->",
    ],
)
def test_active_content_is_seen(html: str) -> None:
    assert is_active(f"<p>Hei</p>{html}")


def test_an_ordinary_letter_is_not_active() -> None:
    assert not is_active(
        '<!doctype html><meta charset="utf-8"><style>p { color: red }</style><p class="on">Hei <a href="x">du</a></p>'
    )


# Hosts


def test_hosts_are_compared_in_one_form() -> None:
    assert to_a_labels("Blåbær.example") == to_a_labels("xn--blbr-roah.EXAMPLE") == "xn--blbr-roah.example"
    assert to_a_labels("fass.de") != to_a_labels("faß.de")
    assert [to_a_labels(bad) for bad in ("", "no", "-a.no", "a..no", "-å.no", "x" * 300 + ".no")] == [None] * 6
    assert within("a.b.no", ["b.no"])
    assert not within("ab.no", ["b.no"])


@pytest.mark.parametrize("host", ["192.0.2.1", "0x7f.1", "127.1", "017700000001", "[::1]", "1.2.3.4."])
def test_numbers_in_any_base_are_addresses(host: str) -> None:
    assert is_ip_address(host)
    assert not is_ip_address(f"{host.strip('[].')}.no")


def test_scripts_that_are_written_together_are_not_mixed() -> None:
    assert not mixes_scripts(to_a_labels("blåbær.example") or "")
    assert not mixes_scripts(to_a_labels("ひらがなカタカナ漢字.example") or "")
    assert mixes_scripts(to_a_labels("αltinn.no") or "")
    assert mixes_scripts("xn--0.no")  # cannot be read
    assert not any(mixes_scripts(host) for host in SHORTENERS)
