"""The audit's page (complete, escaped, one file, readable in a browser) and command (exit codes and messages)."""

import json
from itertools import pairwise

import numpy as np
import pytest
from helpers.audit_example import changed, write
from helpers.command_line import invoke
from helpers.hostile_text import HOSTILE, assert_inert
from helpers.page_checks import (
    Page,
    assert_readable,
    browser,
    in_all_windows,
    opened,
)

from mmer_pipeline.audit.audit_page import html
from mmer_pipeline.audit.run_audit import make_audit
from mmer_pipeline.corpora.labels import identity_map
from mmer_pipeline.corpora.manifest import read_manifest, write_manifest
from mmer_pipeline.corpora.utterances import Utterance

chromium = pytest.fixture(scope="module")(browser)

CUT = """() => [...document.querySelectorAll('.finding, .tally a, .passed > *')]
  .filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.textContent)"""
MARKUP = "<b>not & bold</b> [LAUGHTER] {LG} " + "word " * 40


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """An audit with findings of every severity, long names and text that looks like markup."""
    from conftest import write_tiny_corpus

    manifest = write_tiny_corpus(tmp_path_factory.mktemp("audit"), sessions=3, repeats=2)
    for number in range(12):
        write(manifest.audio_path(manifest.utterances[number]), np.clip(2 * np.sin(np.arange(8000) / 20), -1, 1))
    manifest = changed(
        manifest,
        lambda n, row: {
            "transcript": MARKUP if n == 0 else "żółw" if n == 1 else row.transcript,
            "speaker": "a-speaker-with-a-very-long-name-that-nobody-can-break" if n in (0, 40) else row.speaker,
        },
    )
    manifest.audio_path(manifest.utterances[45]).unlink()
    return make_audit(manifest)


@pytest.fixture(scope="module")
def source(example):
    return html(example)


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_the_example_has_every_severity(example):
    assert all(example["severities"].values())


def test_the_same_audit_gives_the_same_page_also_after_json(example, source):
    assert html(json.loads(json.dumps(example, allow_nan=False))) == source


def test_the_page_loads_nothing(source, page):
    assert not page.all("script", "img", "iframe", "object", "embed", "video", "audio")
    assert "http" not in source
    assert "@import" not in source


def test_text_of_the_corpus_is_escaped(page):
    assert not page.all("b", "i", "script")
    assert "<b>not & bold</b> [LAUGHTER] {LG}" in page.text


def test_every_finding_is_in_the_page_the_most_severe_first(example, page):
    places = [page.text.index(finding["title"]) for finding in example["findings"]]
    assert places == sorted(places)
    text = page.text.replace("\u00a0", " ")
    for finding in example["findings"]:
        assert finding["figure"] in text
        assert finding["meaning"].replace("`", "") in text
        assert finding["severity"] == "ok" or all(text in page.text for text in finding["examples"])


def test_every_link_has_a_target_and_no_id_appears_twice(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    pointed = {attributes[name].lstrip("#") for _, attributes in page.elements for name in ("href", "xlink:href")
               if attributes.get(name, "").startswith("#")}  # fmt: skip
    pointed |= {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert pointed <= set(ids)


def test_headings_skip_no_level_and_header_cells_have_a_scope(page):
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("scope" in attributes for attributes in page.all("th"))


def test_without_audio_the_page_says_so(tiny_corpus):
    text = Page(html(make_audit(tiny_corpus(), audio=False))).text
    assert "They were not checked (--no-audio)" in text
    assert "Loudness" not in text


@in_all_windows
def test_everything_is_readable_in_a_browser(chromium, source, tmp_path, size, scheme):
    with opened(chromium, tmp_path / "audit.html", source, size, scheme) as view:
        assert_readable(view, scheme)
        cut = (
            "() => [...document.querySelectorAll('.finding, .tally a')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        )
        assert view.evaluate(cut) == []


# The command.


def test_the_command_writes_beside_the_manifest_and_succeeds_without_errors(tiny_corpus):
    manifest = tiny_corpus()
    result = invoke("audit", "--manifest", manifest.path)
    assert result.exit_code == 0, result.output
    written = json.loads((manifest.path.parent / "audit.json").read_text("utf-8"))
    assert written["digest"] == manifest.digest
    assert f"digest {manifest.digest}" in result.stdout
    assert (manifest.path.parent / "audit.html").read_text("utf-8") == html(written)
    assert "Decoding: 16/16 recordings" in result.stderr


def test_the_command_fails_but_writes_the_audit_if_the_protocol_is_broken(tiny_corpus, tmp_path):
    manifest = changed(tiny_corpus(), lambda n, _: {"session": "2"} if n == 0 else {})
    result = invoke("audit", "--manifest", manifest.path, "--output", tmp_path / "there", "--json")
    assert result.exit_code == 1
    value = json.loads(result.stdout)
    assert value["findings"][0]["key"] == "speakers_in_several_folds"
    assert json.loads((tmp_path / "there" / "audit.json").read_text("utf-8")) == value
    assert invoke("audit", "--manifest", manifest.path, "--folds", "speaker").exit_code == 0


def test_random_folds_are_accepted_if_they_are_asked_for_on_the_command_line(tiny_corpus, tmp_path, monkeypatch):
    manifest = tiny_corpus()
    asked = invoke("audit", "--manifest", manifest.path, "--folds", "random", "--no-audio")
    assert asked.exit_code == 0, asked.output
    assert "Speakers in more than one fold" in asked.stdout
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mmer.toml").write_text('[train]\nfolds = "random"\n')
    assert invoke("audit", "--manifest", manifest.path, "--no-audio").exit_code == 1
    manifest.audio_path(manifest.utterances[0]).unlink()
    assert invoke("audit", "--manifest", manifest.path, "--folds", "random").exit_code == 1  # another error


def test_without_audio_a_missing_file_goes_unnoticed(tiny_corpus):
    manifest = tiny_corpus()
    manifest.audio_path(manifest.utterances[0]).unlink()
    assert invoke("audit", "--manifest", manifest.path, "--no-audio").exit_code == 0
    assert invoke("audit", "--manifest", manifest.path).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--manifest", "nowhere.csv"], "No manifest at nowhere.csv"),
        (["--folds", "accent"], "has no column 'accent'"),
    ],
)
def test_bad_input_gets_one_clear_message(tiny_corpus, arguments, message):
    tiny_corpus()
    result = invoke("audit", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_manifest_named_audit_keeps_its_facts(tiny_corpus):
    manifest = tiny_corpus()
    other = manifest.path.with_name("audit.csv")
    manifest.path.rename(other)
    manifest.path.with_suffix(".json").rename(other.with_suffix(".json"))
    before = other.with_suffix(".json").read_bytes()
    result = invoke("audit", "--manifest", other)
    assert result.exit_code == 1
    assert "Give another directory with --output" in result.stderr
    assert other.with_suffix(".json").read_bytes() == before


def test_a_hostile_corpus_makes_a_page_that_runs_and_loads_nothing(tmp_path):
    rows = [
        Utterance(f"{HOSTILE} {session}{take}", f"{session}{take}.wav", 0.0, 1.0, f"{HOSTILE} s{session}",
                  f"{HOSTILE} {session}", f"{HOSTILE} d{session}", f"{HOSTILE} {take % 2}", f"[{HOSTILE}] {take % 3}")
        for session in range(3)
        for take in range(6)
    ]  # fmt: skip
    label_map = identity_map({row.emotion for row in rows})
    write_manifest(tmp_path / "manifest.csv", rows, root=tmp_path, corpus=HOSTILE, label_map=label_map)
    audit = make_audit(read_manifest(tmp_path / "manifest.csv"), audio=False)
    source = html(audit)
    assert_inert(source)
    assert "7*7" in source
    assert HOSTILE not in source
