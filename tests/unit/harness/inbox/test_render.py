import pytest

from harness.inbox import mime, render
from tests.support.captured import PNG


def shown(html, *, remote=False):
    """What a page holds of an HTML body."""
    page = render.page(mime.read(b"Content-Type: text/html; charset=utf-8\r\n\r\n" + html.encode()), remote=remote)
    return page.html.partition("<body>")[2].partition("</body>")[0].strip(), page


ACTIVE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    '<a href="javascript:alert(1)">x</a>',
    '<a href="JaVaScRiPt&colon;alert(1)">x</a>',
    '<a href="data:text/html,<script>alert(1)</script>">x</a>',
    '<a href="vbscript:x">x</a>',
    "<iframe src=http://evil.example></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=http://evil.example></object><embed src=http://evil.example>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<base href=http://evil.example>",
    "<link rel=stylesheet href=http://evil.example>",
    "<form action=http://evil.example><input name=a><button>x</button></form>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>alert(1)</script></template>",
    '<div style="background:url(javascript:alert(1))">x</div>',
    "<video src=http://evil.example poster=http://evil.example autoplay></video><audio src=http://evil.example>",
    "<img srcset='http://evil.example 2x'><picture><source srcset=http://evil.example></picture>",
    "<input type=image src=http://evil.example>",
    "<table background=http://evil.example><tr><td background=http://evil.example>x</table>",
    '<p style="background-image:url(&quot;http://evil.example/a.png&quot;)">x</p>',
]


@pytest.mark.parametrize("html", ACTIVE)
def test_nothing_of_a_mail_can_act(html):
    """Neither scripts, handlers and frames nor forms and remote addresses get through the cleaning."""
    body, _ = shown(html)
    for trace in ("script", "onerror", "onload", "evil", "iframe", "<form", "<input", "<meta", "<base", "vbscript"):
        assert trace not in body.lower(), body


def test_the_policy_lets_nothing_run_and_nothing_out():
    """What the cleaning may overlook, the policy of the page stops: no scripts, and no source to load from."""
    policy = render.policy(remote=False)
    assert "default-src 'none'" in policy
    assert "img-src data:;" in policy
    assert "script-src" not in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "http" not in policy


def test_remote_images_are_blocked_counted_and_shown_on_demand():
    """A remote image is left out and counted, and is there when it was asked for."""
    body, page = shown('<img src="https://a.example/1.png"><img src="http://a.example/2.png">')
    assert ("a.example" in body, page.blocked) == (False, 2)
    body, page = shown('<img src="https://a.example/1.png">', remote=True)
    assert ("https://a.example/1.png" in body, page.blocked) == (True, 0)
    assert "script-src" not in page.policy


def test_links_open_elsewhere_and_tell_nothing():
    """A link keeps its address, opens a page of its own, and sends no referrer and no opener along."""
    body, _ = shown('<a href="https://a.example/?q=1">x</a>')
    assert 'href="https://a.example/?q=1"' in body
    assert 'target="_blank"' in body
    assert "noopener noreferrer" in body


def test_an_inline_image_travels_in_the_page(captured):
    """`cid:` becomes the image itself, so that the page makes no request for it."""
    key = captured.html('<p>Hi <img src="cid:logo"></p>')
    mail = mime.read((captured.run.mail / "new" / key).read_bytes())
    assert 'src="data:image/png;base64,' in render.page(mail).html


def test_an_inline_svg_is_no_image(captured):
    """What calls itself an image and is SVG is not shown: only bytes that begin as a raster image are."""
    raw = (
        b"Content-Type: multipart/related; boundary=b\r\n\r\n"
        b'--b\r\nContent-Type: text/html\r\n\r\n<img src="cid:x">\r\n'
        b"--b\r\nContent-Type: image/png\r\nContent-ID: <x>\r\n\r\n<svg onload=alert(1)>\r\n--b--\r\n"
    )
    assert "data:" not in render.page(mime.read(raw)).html.partition("<body>")[2]


def test_styles_and_shape_survive():
    """What makes a newsletter look as it should is kept: styles, tables, colours, the body's background."""
    body, page = shown('<body bgcolor="#eee"><style>p { color: red }</style><table width=600><tr><td align=center>x')
    assert "body { background: #eee }" in page.html
    assert "p { color: red }" in body
    assert '<table width="600">' in body


def test_an_image_in_the_html_itself_is_kept_if_it_is_a_raster_image():
    """data: images are kept as they are, but SVG ones, which are documents, are not."""
    body, _ = shown('<img src="data:image/png;base64,AAAA"><img src="data:image/svg+xml;base64,BBBB">')
    assert "data:image/png;base64,AAAA" in body
    assert "BBBB" not in body


BUSY = [
    *("<div>" * 200_000, "<b>" * 300_000, "<a><div>" * 100_000, "<b></p>" * 100_000, "<table>" * 100_000),
    *("<p " + " ".join(f"a{number}=1" for number in range(100_000)) + ">", "<" * 900_000, "&amp" * 200_000),
    *("<div>" * 399 + "<b></b>" * 140_000, "<style>" + "a{" * 400_000),
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("html", BUSY, ids=lambda html: html[:20])
def test_html_that_would_keep_the_cleaner_busy_is_not_looked_at_for_long(html):
    """HTML of any shape is shown, or refused with a note, soon."""
    shown(html)
    render.words(html)


def test_html_that_is_too_deep_says_so():
    """A mail that is not shown says why, and is not shown in part."""
    body, page = shown("<div>" * 1_000 + "deep")
    assert "too deep" in page.note
    assert page.note in body


def test_words_are_what_a_reader_sees():
    """The words of an HTML body are its text, without styles, scripts and tags."""
    assert render.words("<style>x</style><p>Hello <b>you</b>&amp;me</p><script>y</script>") == "Hello you&me"


def test_a_plain_body_links_and_escapes():
    """Web addresses become links; everything else stays text."""
    html = render.linked('<b>see https://a.example/x?y=1&z=2. "ok"')
    assert html.startswith("&lt;b&gt;see <a href=")
    assert 'href="https://a.example/x?y=1&amp;z=2"' in html
    assert "</a>. &quot;ok&quot;" in html


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("invoice.pdf", "invoice.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\evil.exe", "evil.exe"),
        ("/", "part-1"),
        ("", "part-1"),
        ("..", "part-1"),
        (".bashrc", "bashrc"),
        ("a\r\nSet-Cookie: x\0.txt", "aSet-Cookie_ x.txt"),
        ("exe.\u202egnp", "exe.gnp"),
        ("写真.png", "写真.png"),
        ("x" * 500 + ".pdf", "x" * 103 + ".pdf"),
        ('a"b<c>.txt', "a_b_c_.txt"),
    ],
)
def test_a_file_is_saved_under_a_harmless_name(given, safe):
    """A file name loses paths, control and direction characters, leading dots and undue length."""
    part = mime.Part(id="1", content_type="application/octet-stream", filename=given, start=0, end=0)
    assert render.filename(part) == safe


def test_a_disposition_is_one_line_in_both_spellings():
    """The header gives the name in ASCII and in UTF-8, and nothing can break out of it."""
    assert (
        render.disposition('Ü"; x.pdf') == "attachment; filename=\"___ x.pdf\"; filename*=UTF-8''%C3%9C%22%3B%20x.pdf"
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        *(
            (PNG, "image/png"),
            (b"GIF89a", "image/gif"),
            (b"\xff\xd8\xff", "image/jpeg"),
            (b"RIFF1234WEBP", "image/webp"),
        ),
        *((b"<svg>", ""), (b"<html>", ""), (b"%PDF", ""), (b"", "")),
    ],
)
def test_only_raster_images_are_images(content, kind):
    """What a file is, its first bytes say."""
    assert render.raster(content) == kind
