import pytest

from harness import runs
from harness.errors import RunError, UsageError


def test_a_new_run_has_its_directory_and_the_latest_links(tmp_path):
    """A run lies under its scenario and its time in UTC, and both links lead to it."""
    run = runs.create("burst", root=tmp_path, now=0)
    assert run.directory == tmp_path / "burst" / "19700101T000000Z"
    assert (tmp_path / "latest").resolve() == run.directory
    assert (tmp_path / "burst" / "latest").resolve() == run.directory


def test_two_runs_of_one_second_are_two(tmp_path):
    """Runs that begin within a second do not share a directory."""
    first, second = (runs.create("burst", root=tmp_path, now=0) for _ in range(2))
    assert first.directory != second.directory
    assert (tmp_path / "latest").resolve() == second.directory


@pytest.mark.parametrize("name", ["latest", "burst", "burst/latest", "burst/19700101T000000Z"])
def test_a_saved_run_is_found_by_its_names(tmp_path, name):
    """A run is found by scenario, by scenario and time, and as the latest."""
    run = runs.create("burst", root=tmp_path, now=0)
    run.history.touch()
    assert runs.find(name, root=tmp_path) == run
    assert runs.find(str(run.directory), root=tmp_path) == run


def test_an_unknown_run_is_named(tmp_path):
    """Asking for a run that is not there says what was asked for."""
    with pytest.raises(UsageError, match="'flood'"):
        runs.find("flood", root=tmp_path)


def test_runs_are_listed_once_each_oldest_first(tmp_path):
    """The links do not make a run appear twice."""
    made = [runs.create(name, root=tmp_path, now=now) for name, now in (("outage", 60), ("burst", 0))]
    for run in made:
        run.history.touch()
    assert runs.saved(root=tmp_path) == [made[1], made[0]]


def test_results_are_replaced_whole(tmp_path):
    """Results come back as written, and nothing half-written lies about."""
    run = runs.create("burst", root=tmp_path)
    run.write_results({"verdict": "unknown"})
    run.write_results({"verdict": "valid", "subject": "Grüße \ud800"})
    assert run.results() == {"verdict": "valid", "subject": "Grüße \ud800"}
    assert [path.name for path in run.directory.iterdir() if path.is_file()] == ["results.json"]


def test_missing_results_say_that_the_run_did_not_end(tmp_path):
    """A run that was killed has no results, and the error says so."""
    with pytest.raises(RunError, match="killed"):
        runs.create("burst", root=tmp_path).results()
