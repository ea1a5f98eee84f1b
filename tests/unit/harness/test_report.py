import hashlib
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from harness import cli, history, maildir, results, runs
from harness.report import journeys, page, pictures
from harness.report.course import Arrival, Course
from harness.verdict import Promise

SENDER = "ion@example.com"
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\u202egnp.exe\ud800 $\\frac{1}{2}$'
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Story:
    """A run made by hand; every `tell` is a tenth of a second later."""

    def __init__(self, root, scenario="handmade"):
        self.run = runs.create(scenario, root=root, now=0)
        maildir.create(self.run.mail)
        self.clock, self.bodies, self.lines = 0.0, {}, []
        self.tell("run.started", scenario=scenario, seed=7, mails=9, default_sender=SENDER, settings={"retry.cap": "9"})

    def tell(self, event, **fields):
        """One more event."""
        self.clock = fields.pop("t", round(self.clock + 0.1, 3))
        with self.run.history.open("a") as file:
            file.write(json.dumps({"t": self.clock, "event": event, **fields}) + "\n")

    def log(self, stage, **fields):
        """A line of the function's log."""
        at = datetime.fromtimestamp(self.clock, UTC).isoformat()
        with self.run.function_log.open("a") as file:
            file.write(json.dumps({"stage": stage, "timestamp": at, "level": "INFO"} | fields) + "\n")

    def publish(self, name, subject="Hi", **fields):
        """A mail is published, and SNS takes it."""
        document = {"action": "send", "id": name, "recipient": "ann@example.com", "subject": subject, "body_text": "x"}
        self.bodies[name] = json.dumps(document | {"headers": {"X-Workload-Id": name}} | fields)
        self.tell("publish.attempted", workload=name, attempt=1, body=self.bodies[name])
        self.tell("publish.acknowledged", workload=name, attempt=1, message_id=f"sns-{name}")

    def accept(self, name, *, replied=True, subject="Hi"):
        """The server takes it."""
        message = (
            f"From: {SENDER}\r\nTo: ann@example.com\r\nSubject: {subject}\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\n"
            f"Message-ID: <{name}@ion>\r\nX-Workload-Id: {name}\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain\r\n\r\nx\r\n"
        ).encode(errors="replace")
        key = maildir.add(self.run.mail, message)
        self.tell(
            "smtp.transaction",
            transaction="1.1",
            result="accepted",
            replied=replied,
            reply="250 2.0.0 kept" if replied else "",
            sender=SENDER,
            recipients=["ann@example.com"],
            workload=name,
            message_id=f"<{name}@ion>",
            key=key,
            sha256=hashlib.sha256(message).hexdigest(),
            size=len(message),
        )
        return key

    def settle(self, name, *log, status="delivered", **fields):
        """What the ledger has of it at the end."""
        lines = [{"at": at, "result": result, "seconds": 0.1, "text": text} for at, result, text in log]
        item = {"id": name, "status": status, "message_id": f"<{name}@ion>", "log": lines, "attempts": len(lines)}
        self.tell("ledger", item=item | fields)

    def bury(self, name, reason="rejected", detail="550 5.1.1 no such user"):
        """It is in the dead-letter queue."""
        at = datetime.fromtimestamp(self.clock, UTC).isoformat()
        attributes = {"ion-id": name, "failure-reason": reason, "failure-detail": detail, "failed-at": at}
        self.tell("deadletter", message_id=f"m-{name}", body=self.bodies[name], attributes=attributes)

    def end(self, **fields):
        """The run's end; returns its results."""
        self.tell("depth", visible=0, in_flight=0, delayed=0, dead=1)
        self.tell("run.finished", **{"reason": "drained"} | fields)
        found = results.check(self.run)
        self.run.write_results(found)
        return found


def disaster(root, *, subject="Hi"):
    """An outage in which one mail each is delivered, deferred, ambiguous, dead-lettered, sent twice and lost."""
    story = Story(root)
    does = [{"stages": ["mail", "rcpt"], "reply": "451 later", "share": 0.5}, {"stages": ["dot"], "drop": True}]
    story.tell("fault.planned", name="server down", kind="Server", start=2, does=does, t=story.clock)
    for number, name in enumerate(("good", "late", "unsure", "dead", "twice", "gone")):
        story.publish(name, subject=subject)
        story.tell("depth", visible=number, in_flight=1, delayed=0, dead=0)
    story.accept("good", subject=subject)
    story.tell("fault.started", name="server down", kind="ServerDown")
    story.log("unavailable", level="WARNING", error="connection refused")
    story.log("deferred", id="late", result="deferred", reply="451 4.3.0 later")
    deferred = story.clock
    story.tell("alarm", name="wake-up", state="ALARM")
    story.tell("function.killed", fault="server down", pids=[1])
    story.tell("depth", visible=5, in_flight=0, delayed=1, dead=0, t=story.clock + 3)
    story.tell("alarm", name="dead letters", state="ALARM")
    story.tell("alarm", name="wake-up", state="OK")
    story.tell("fault.ended", name="server down", struck=3)
    story.tell("fault.started", name="421 at rcpt", kind="Server")
    story.accept("late", subject=subject)
    story.accept("unsure", replied=False, subject=subject)
    unsure = story.clock
    for _ in range(2):
        story.accept("twice", subject=subject)
    story.accept("unsure", subject=subject)
    story.log("dead-lettered", id="dead", reason="rejected")
    story.bury("dead")
    story.settle("late", (deferred, "deferred", "451 4.3.0 later"), (deferred + 3, "delivered", "250 ok"))
    story.settle("unsure", (unsure, "ambiguous", "connection lost"), (unsure + 1, "delivered", "250 ok"))
    story.settle("dead", (unsure, "rejected", "550 5.1.1 no such user"), status="failed", reason="rejected")
    return story


class Page(HTMLParser):
    """What a browser would make of a page: its tags, and the text outside of style."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self._open = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Take a tag."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "style":
            self._open.append(tag)

    def handle_endtag(self, tag):
        """Leave a style sheet."""
        if tag == "style":
            self._open.pop()

    def handle_data(self, data):
        """Take text."""
        if not self._open:
            self.text += f" {data}"


def made(story, **fields):
    """The story's report, as text."""
    assert page.write(story.run, story.end(**fields))
    return story.run.report.read_text()


def flat(text):
    """The page's text with one space between words."""
    return " ".join(Page(text).text.split())


def course_of(story):
    """The story over time."""
    events = list(history.read(story.run.history))
    return Course.of(results.read_facts(events), events, list(results.log_lines(story.run)))


@pytest.fixture
def story(tmp_path):
    """A disaster to add to."""
    return disaster(tmp_path)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The report of a disaster, which takes a second to draw: for tests that only read it."""
    made_here = disaster(tmp_path_factory.mktemp("runs"))
    return made(made_here)


def test_the_verdict_comes_first(told):
    """Whoever opens the page reads what the run proves, and which promises broke, before any figure."""
    text = flat(told).partition("6 published")[0]
    assert "Invalid" in text
    assert "Promises were broken: conservation , once" in text
    assert "gone" in text
    assert "neither delivered to nor dead-lettered for ann@example.com" in text


def test_a_good_run_says_so_in_a_word(tmp_path):
    """Nothing of a valid run looks like trouble."""
    good = Story(tmp_path)
    good.publish("good")
    good.accept("good")
    good.tell("depth", visible=0, in_flight=0, delayed=0, dead=0)
    text = flat(made(good))
    assert "Valid Every promise was kept. 1 mail published" in text
    assert "broken" not in text


def test_a_run_without_mail_has_a_report_all_the_same(tmp_path):
    """A run that broke off at its start is unknown, and the page says why."""
    text = flat(made(Story(tmp_path), reason="interrupted"))
    assert "Unknown" in text
    assert "the run ended before the queue was empty: interrupted" in text
    assert "there is nothing to draw" in text


def test_a_history_that_cannot_be_read_has_a_report(story):
    """Damage to the evidence is told, not stumbled over."""
    story.run.history.write_text("garbage\n{}\n")
    assert page.write(story.run, results.check(story.run))
    assert "no JSON object" in flat(story.run.report.read_text())


def test_every_picture_is_drawn_for_a_screen_and_for_a_phone(told):
    """Rates, depth, latency and shares, each in two widths, each with words for who cannot see it."""
    text = told
    labels = re.findall(r'<svg viewBox="0 0 (\d+) \d+" role="img" aria-label="([^"]+)"', text)
    assert len(labels) == 8
    assert len({label for _, label in labels}) == 4
    assert {width for width, _ in labels} == {"980", "560", "370"}


def test_pictures_take_their_colours_from_the_page(story):
    """No colour of a picture is fixed, so that it reads by day and by night; every variable is in the style sheet."""
    drawn = pictures.draw(course_of(story))
    style = (page.TEMPLATES / "report.css").read_text()
    for picture in drawn.values():
        assert not re.findall(r"#[0-9a-f]{6}\b", picture.wide)
        assert all(f"{name}:" in style for name in re.findall(r"var\((--[a-z]+)\)", picture.wide))


def test_no_two_things_on_the_page_have_one_id(told):
    """Pictures share no names: a clip path of a hidden one must not be found in place of the shown one's."""
    found = Page(told).attributes
    ids = [value for _, name, value in found if name == "id"]
    assert len(ids) == len(set(ids))
    targets = [value[1:] for _, name, value in found if name in {"href", "xlink:href"} and value.startswith("#")]
    assert targets
    assert set(targets) <= set(ids)


def test_faults_last_from_their_beginning_to_their_end(story):
    """A fault that nothing ends lasts as long as the run."""
    story.end()
    course = course_of(story)
    down, refused = course.windows
    assert (down.name, down.healed, round(down.ended - down.began, 1)) == ("server down", True, 3.5)
    assert down.detail == "at mail, rcpt: reply: 451 later, share: 0.5; at dot: drop: yes"
    assert (down.struck, refused.struck) == (3, None)
    assert (refused.name, refused.healed, refused.ended) == ("421 at rcpt", False, course.ended)
    assert [(each.name, each.healed) for each in course.alarms] == [("wake-up", True), ("dead letters", False)]
    assert round(course.alarms[0].ended - course.alarms[0].began, 1) == 3.3
    assert list(course.kills) == ["server down"]


def test_two_faults_of_one_name_are_two(tmp_path):
    """A flapping server is down twice, not once for twice as long; of two at a time the first ends first."""
    story = Story(tmp_path)
    for event, at in (("started", 1), ("ended", 2), ("started", 3), ("started", 4), ("ended", 5), ("ended", 6)):
        story.tell(f"fault.{event}", name="down", t=at)
    assert [(each.began, each.ended) for each in course_of(story).windows] == [(1, 2), (3, 5), (4, 6)]


def test_what_overlaps_is_shaded_once(tmp_path):
    """However many faults there are at a time, there is one shade."""
    story = Story(tmp_path)
    for name, began, ended in (("a", 1, 5), ("b", 2, 3), ("c", 5, 6), ("d", 8, 9)):
        story.tell("fault.started", name=name, t=began)
        story.tell("fault.ended", name=name, t=ended)
    assert course_of(story).shade == [(1, 6), (8, 9)]


def test_the_course_counts_what_happened(story):
    """Each kind is counted when it happened; a mail taken twice counts twice."""
    story.end()
    course = course_of(story)
    assert [len(getattr(course, kind)) for kind in ("published", "delivered", "deferred", "dead")] == [6, 6, 1, 1]
    assert {each.workload: each.kind for each in course.arrivals} == {
        "good": "straight",
        "late": "retried",
        "unsure": "ambiguous",
        "twice": "straight",
    }


def test_without_a_log_the_ledger_and_the_dead_letters_tell(story):
    """A function whose log is lost is not one that deferred nothing."""
    story.end()
    story.run.function_log.unlink()
    course = course_of(story)
    assert len(course.deferred) == 2
    assert len(course.dead) == 1


def test_each_interesting_mail_has_a_track_under_its_worst_reason(story):
    """Lost, duplicated, ambiguous, dead-lettered, slowest: each mail is shown once."""
    found = story.end()
    events = list(history.read(story.run.history))
    facts = results.read_facts(events)
    lines = list(results.log_lines(story.run))
    groups = journeys.tell(
        story.run, found, facts=facts, course=Course.of(facts, events, lines), events=events, lines=lines
    )
    shown = {group.title: [journey.workload for journey in group.journeys] for group in groups}
    assert shown == {
        "lost": ["gone"],
        "sent again although the earlier send was known to have succeeded": ["twice"],
        "ambiguous": ["unsure"],
        "dead-lettered": ["dead"],
        "slowest": ["late", "good"],
    }


def test_a_journey_tells_all_that_happened_in_order(told):
    """Publication, both sends and the ledger's word, by their times."""
    journey = told[told.index("<code>unsure</code> <bdi>Hi") : told.index("<code>dead</code> <bdi>Hi")]
    assert re.findall(r"</span><div>([^<(]+?) ?[<(]", journey) == [
        "Published",
        "SNS took it",
        "The server took it, and ion was not told so",
        "Ledger: ambiguous",
        "The server took it",
        "Ledger: delivered",
    ]


def test_captured_mails_are_linked_where_they_lie(story):
    """Every link leads to a file beside the report, also of a mail that a mail reader has moved since."""
    key = story.accept("good")
    maildir.flag(story.run.mail, key, S=True)
    links = [value for tag, name, value in Page(made(story)).attributes if (tag, name) == ("a", "href")]
    files = [link for link in links if not link.startswith("#")]
    assert any(link.endswith("%3A2%2CS") for link in files)
    for link in files:
        assert (story.run.directory / link.replace("%3A", ":").replace("%2C", ",")).exists(), link


def test_hostile_text_stays_text(tmp_path):
    """Neither a mail, nor a server's words, nor a fault's name makes a tag, turns the text or stops the report."""
    story = disaster(tmp_path, subject=HOSTILE)
    story.tell("fault.started", name=HOSTILE, note=HOSTILE)
    story.publish("bad", subject=HOSTILE)
    story.bury("bad", reason=HOSTILE, detail=HOSTILE)
    story.log(HOSTILE, level="ERROR", id="bad", error=HOSTILE, reply={"not": ["a", "text"]})
    text = made(story)
    found = Page(text)
    assert not {"script", "img", "iframe", "object", "form", "link"} & set(found.tags)
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert "\u202e" not in text
    assert "alert(1)" in found.text
    assert "$\\frac{1}{2}$" in pictures.draw(course_of(story))["rates"].wide


def test_the_page_loads_nothing(told):
    """The policy forbids all but the page's own style, and nothing in it asks for more."""
    found = Page(told)
    policy = next(value for tag, name, value in found.attributes if (tag, name) == ("meta", "content"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    addresses = [value for _, name, value in found.attributes if name in {"href", "src", "xlink:href", "srcset"}]
    assert not [value for value in addresses if re.match(r"\w+:|//", value)]
    assert "@import" not in told


def test_reasons_are_counted(story):
    """Why mails were dead-lettered, what kept mails waiting, and what ion warned of."""
    story.publish("dead-2")
    story.bury("dead-2", detail="550 5.7.1 go away")
    text = flat(made(story))
    assert "2 rejected 550 5.1.1 no such user (1) 550 5.7.1 go away (1)" in text
    assert "1 deferred 451 4.3.0 later" in text
    assert "1 unavailable warning connection refused" in text


def test_expectations_stand_beside_the_promises(story):
    """What is expected is listed with what came of it; a run that had no time for it leaves it open."""
    found = story.end() | {
        "expectations": [{"name": "the alarm fired", "wrong": ""}, {"name": "AWS said", "wrong": "never"}]
    }
    assert page.write(story.run, found)
    text = flat(story.run.report.read_text())
    assert "met Expected The alarm fired" in text
    assert "not shown Expected AWS said: never" in text
    breach = {"promise": "expectation", "what": "not as expected", "mails": {"AWS said": "never"}, "evidence": {}}
    assert page.write(story.run, found | {"breaches": [breach]})
    assert "not met Expected AWS said: never" in flat(story.run.report.read_text())


def test_every_promise_has_words():
    """A promise that the checker knows is explained to the reader."""
    assert {promise.value for promise in page.PROMISES} | {"expectation"} == {promise.value for promise in Promise}


def test_the_command_runs_the_same_again(told):
    """Seed and size of the run, ready to be pasted."""
    assert "make scenario handmade ARGS='--seed 7 --mails 9'" in flat(told)


def test_a_picture_that_fails_costs_no_verdict(story, monkeypatch):
    """Without matplotlib, or with a broken one, all else is there, and the page says what is missing."""
    monkeypatch.setitem(sys.modules, "harness.report.pictures", None)
    monkeypatch.delattr("harness.report.pictures")
    text = flat(made(story))
    assert "The pictures could not be drawn" in text
    assert "Invalid" in text
    assert "no such user" in text


def test_a_page_that_fails_leaves_the_verdict(story, monkeypatch, capsys):
    """The plainest page names the verdict and the trouble, and nothing is raised."""
    monkeypatch.setattr(page, "TEMPLATES", story.run.directory)
    assert not page.write(story.run, story.end())
    assert "invalid: 6 published" in story.run.report.read_text()
    assert "TemplateNotFound" in capsys.readouterr().err


def test_a_disk_that_takes_nothing_raises_nothing(story, capsys):
    """The report's place is taken by a directory, say: the run's verdict stands."""
    (story.run.directory / "report.html").mkdir()
    assert not page.write(story.run, story.end())
    assert "could not be written" in capsys.readouterr().err


def test_a_large_sample_is_honest():
    """The slowest and the ambiguous mails are never left out, and the note says how many are shown."""
    arrivals = [
        Arrival(workload=str(n), at=float(n), seconds=n / 1000, kind="ambiguous" if n == 5 else "straight")
        for n in range(10_000)
    ]
    shown, note = pictures.sample(arrivals)
    names = {each.workload for each in shown}
    assert len(shown) == len(names) == pictures.MOST_POINTS
    assert {"5", "9999", "9998"} <= names
    assert note.startswith("1,500 of 10,000 mails are shown")
    assert pictures.sample(shown) == (shown, "")


def test_ten_thousand_mails_make_a_small_page(tmp_path):
    """The page's size does not grow with the run's."""
    story = Story(tmp_path)
    events = []
    for n in range(10_000):
        at = 10 + n / 100
        body = json.dumps({"action": "send", "recipient": "a@example.com", "subject": "", "headers": {}, "n": n})
        events.append({"t": at, "event": "publish.attempted", "workload": f"w-{n}", "attempt": 1, "body": body})
        events.append({"t": at, "event": "publish.acknowledged", "workload": f"w-{n}", "attempt": 1})
        if n % 10:
            continue
        events.append({"t": at, "event": "depth", "visible": n, "in_flight": 3, "delayed": 0, "dead": 0})
    for n in range(10_000):
        mail = {"sender": SENDER, "recipients": ["a@example.com"], "replied": True, "reply": "250 ok"}
        events.append(
            {
                "t": 12 + n / 90,
                "event": "smtp.transaction",
                "transaction": "1",
                "result": "accepted",
                "workload": f"w-{n}",
            }
            | mail
        )
    with story.run.history.open("a") as file:
        file.writelines(f"{json.dumps(event)}\n" for event in events)
    story.clock = 200.0
    assert len(made(story)) < 1_000_000
    assert "1,500 of 10,000 mails are shown" in flat(story.run.report.read_text())


def test_the_command_makes_the_report_anew(story, capsys):
    """`report RUN` takes a run's path, also of a run that was killed before it had results."""
    story.end()
    story.run.results_file.unlink()
    assert cli.main(["report", str(story.run.directory)]) == 0
    assert capsys.readouterr().out.strip() == str(story.run.report)
    assert story.run.report.exists()


def test_a_scenario_starts_without_the_plotting_library():
    """What takes a second to load is loaded when there is something to draw."""
    code = "import sys, harness.runner; print(sorted({'matplotlib', 'jinja2', 'numpy'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_redriven_mail_was_not_delivered_at_the_first_attempt(tmp_path):
    """It had been dead-lettered before, which its ledger item remembers."""
    story = Story(tmp_path)
    story.publish("back")
    story.accept("back")
    story.settle("back", (story.clock, "delivered", "250 ok"), generation=1)
    story.end()
    assert [each.kind for each in course_of(story).arrivals] == ["retried"]
