"""The manual pages: they have every command, option and key, read well, and what they tell to type can be typed."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from fwbouncer import exits
from fwbouncer.cli import make_parser
from fwbouncer.config.keys import rows
from fwbouncer.config.load import draft
from tests.lab.documented import examples, page_commands, readme_commands, written

if TYPE_CHECKING:
    from pathlib import Path

PAGES = ("fwbouncer.8", "fwbouncer.yaml.5")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the pages."""
    return written("manual", tmp_path_factory.mktemp("man"))


def plain(page: Path) -> str:
    """Render a page as text, each paragraph on one line."""
    words = ("mandoc", "-Tascii", "-O", "width=900", page)
    rendered = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    return re.sub(".\b", "", rendered)


@pytest.mark.parametrize("name", PAGES)
def test_both_readers_take_the_pages(pages: Path, name: str) -> None:
    """Neither mandoc nor groff, which man runs, has anything to say against a page."""
    checked = subprocess.run(
        ("mandoc", "-Tlint", "-W", "style", pages / name),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (checked.stdout, checked.stderr) == ("", "")
    shown = subprocess.run(
        ("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", pages / name),
        capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "MANPAGER": "cat"},
    )  # fmt: skip
    assert shown.stderr == ""
    assert "EXAMPLES" in re.sub(".\b", "", shown.stdout)


def test_every_command_and_option(pages: Path) -> None:
    """Whatever help tells of, the page does, in the same words."""
    text = plain(pages / "fwbouncer.8").lower()
    parser = make_parser()
    inner = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for each in (parser, *inner.choices.values()):
        for action in each._actions:
            if action is not inner:
                assert all(name.lower() in text for name in action.option_strings)
                assert (action.help or "").lower() in text
    for choice in inner._choices_actions:
        assert f"\n     {choice.dest}" in text or f"\n   {choice.dest}" in text
        assert (choice.help or "").lower().replace("`", "") in text


def test_every_key_with_its_default(pages: Path) -> None:
    """Every key of the configuration is told with its kind, its default and what it does."""
    lines = [line.strip() for line in plain(pages / "fwbouncer.yaml.5").splitlines()]
    for row in rows():
        default = f", {row.default} when absent" if row.default else ""
        at = lines.index(f"{row.key} ({row.type}{default})")
        assert lines[at + 1] == row.description.replace("`", "")


def test_every_exit_code(pages: Path) -> None:
    """The codes that the program ends with are those that the page explains."""
    text = plain(pages / "fwbouncer.8")
    section = text[text.index("EXIT STATUS") : text.index("SIGNALS")]
    told = {int(code) for code in re.findall(r"^ +([0-9])\b", section, re.MULTILINE)}
    assert told == {value for name, value in vars(exits).items() if name.isupper()}


def test_the_same_every_time(tmp_path: Path) -> None:
    """Two builds with the same SOURCE_DATE_EPOCH are equal, and have that date."""
    one = written("manual", tmp_path / "one", SOURCE_DATE_EPOCH="1700000000")
    two = written("manual", tmp_path / "two", SOURCE_DATE_EPOCH="1700000000")
    for name in PAGES:
        assert (one / name).read_bytes() == (two / name).read_bytes()
        assert "2023-11-14" in (one / name).read_text()


def test_the_configurations_work(pages: Path, tmp_path: Path) -> None:
    """Every configuration among the examples is valid, once its certificates are there."""
    found = examples(pages / "fwbouncer.yaml.5")
    assert len(found) > 3
    certificate = tmp_path / "c.pem"
    certificate.touch(0o600)
    for number, text in enumerate(found):
        path = tmp_path / f"{number}.yaml"
        path.write_text(re.sub(r"/etc/crowdsec/tls/\S+", str(certificate), text))
        path.chmod(0o600)
        assert draft(path, {}).problems == ()


def test_whatever_is_documented_can_be_typed(pages: Path) -> None:
    """Every call of fwbouncer in the README and in the manual is one that the command line takes."""
    calls = [*readme_commands(), *page_commands(pages / "fwbouncer.8")]
    assert len(calls) > 12
    for words in calls:
        make_parser().parse_args(words)
