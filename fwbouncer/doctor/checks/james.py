"""Apache James: its log says who did what, and CrowdSec understands it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.doctor.checks.mending import configure, edit, quoted
from fwbouncer.doctor.facts import CrowdSecItem, Engine, James, Unseen
from fwbouncer.doctor.finding import Finding, fine, note, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.doctor.facts import Acquisition, Facts

_COLLECTION = "/usr/share/fwbouncer/crowdsec"
_OURS, _LINAGORA = "fwbouncer/james", "linagora/james"
_JSON = ("JsonEncoder", "JsonLayout")
_NOBODY = "CrowdSec learns of nobody who attacks James, so that nobody is banned for it."
_LOAD = ("crowdsec -t", "systemctl restart crowdsec")


def check(facts: Facts) -> Iterator[Finding]:
    """Tell what keeps attacks on James from becoming decisions."""
    jameses = () if isinstance(facts.james, Unseen) else facts.james
    engine = facts.engine
    for james in jameses:
        yield from _listening(james, facts)
        yield from _log(james, facts)
    if jameses and isinstance(engine, Engine):
        yield from _parsers(engine, jameses)
        yield from _sources(engine)


def _listening(james: James, facts: Facts) -> Iterator[Finding]:
    """Tell what in James's files keeps its ports from being known, where they are asked for."""
    config, reading = facts.config, james.reading
    if config is None or reading is None or not config.policies.asks_james or config.james_conf != james.conf:
        return
    for each in reading.problems:
        yield warning(
            "james.ports",
            str(each),
            "Bans are to close James's ports (`ports: james`), and these are not known for certain.",
            edit(each.file, "as said above"),
        )
    if not reading.ports:
        yield problem(
            "james.no-ports",
            f"{james.conf} names no port that others can reach",
            "Bans are to close James's ports (`ports: james`), so they close none.",
            *configure(facts, "protect: {ports: [smtp, submission, smtps, imap, imaps]}"),
        )
    else:
        yield fine("james.listens", f"bans close James's ports {reading.ports}")


def _log(james: James, facts: Facts) -> Iterator[Finding]:
    path = james.logback
    if path is None:
        return
    ours = f"install -m 644 {_COLLECTION}/james/logback.xml {quoted(path)}"
    plain = _reads_plain(facts)
    if james.encoder not in _JSON and not plain:
        yield problem(
            "james.plain-log",
            f"{path} writes no JSON that CrowdSec's parsers for James read",
            f"James's plain lines bear no client's address, but for SMTP and POP3 passwords. {_NOBODY}",
            ours,
        )
    elif james.encoder in _JSON and not james.mdc:
        yield problem("james.no-address", f"{path} leaves out the client's address (MDC)", _NOBODY, ours)
    elif not james.formatted:
        yield warning(
            "james.unformatted",
            f"{path} leaves out the finished text of messages (withFormattedMessage)",
            "POP3's refused passwords, and recipients that do not exist, can't be read from the pattern alone.",
            ours,
        )
    elif not james.quiet and not james.lossy:
        yield fine("james.log", f"{path} writes what CrowdSec needs")
    if james.quiet:
        yield problem(
            "james.quiet", f"{path} hides James's lines of level INFO ({james.quiet})", _NOBODY, ours
        )
    for name in james.lossy:
        yield warning(
            "james.lossy",
            f"appender {name} in {path} drops lines of level INFO when its queue is nearly full",
            "That happens under an attack, and the lines that tell of it are of that level.",
            edit(path, f"<discardingThreshold>0</discardingThreshold> in appender {name}"),
        )


def _reads_plain(facts: Facts) -> bool:
    engine = facts.engine
    return isinstance(engine, Engine) and any(each.kind == "james-plain" for each in engine.acquisitions)


def _parsers(engine: Engine, jameses: tuple[James, ...]) -> Iterator[Finding]:
    ours = [item for item in engine.items if item.name.startswith(_OURS)]
    theirs = [item for item in engine.items if item.name.startswith(_LINAGORA)]
    install = (
        f"cp -r {_COLLECTION}/parsers {_COLLECTION}/scenarios {_COLLECTION}/collections {engine.folder}/",
        *_LOAD,
    )
    if not any(item.kind == "parsers" for item in (*ours, *theirs)):
        yield problem(
            "james.no-parser", "James runs here, and CrowdSec has no parser for its log", _NOBODY, *install
        )
        return
    if not any(item.kind == "scenarios" and "james" in item.name for item in engine.items):
        yield problem(
            "james.no-scenario", "CrowdSec reads James's log, and has no scenario for it", _NOBODY, *install
        )
    elif ours:
        yield fine("james.parser", "CrowdSec has parsers and scenarios for James")
    if theirs:
        yield from _sample(theirs, jameses, doubled=bool(ours))


def _sample(theirs: list[CrowdSecItem], jameses: tuple[James, ...], *, doubled: bool) -> Iterator[Finding]:
    """Look at the parsers of James's own sample configuration."""
    paths = sorted({item.path for item in theirs})
    if doubled:
        yield warning(
            "james.two-collections",
            f"two collections for James are installed: {paths[0].name} is of James's sample configuration",
            "Each attempt is counted twice, by scenarios that know nothing of each other.",
            *(f"rm {quoted(path)}" for path in paths),
            "systemctl restart crowdsec",
        )
    blind = [item for item in theirs if item.kind == "parsers" and "formattedMessage" not in item.text]
    encoded = [james for james in jameses if james.encoder == "JsonEncoder"]
    if blind and encoded:
        yield warning(
            "james.parser-mismatch",
            f"{blind[0].path} reads the field `message`, and James's log has the text in `formattedMessage`",
            "POP3's refused passwords are not found; SMTP's and IMAP's are, because they stand in the pattern.",
            edit(blind[0].path, "formattedMessage instead of message"),
            "systemctl restart crowdsec",
        )


def _sources(engine: Engine) -> Iterator[Finding]:
    reads = [each for each in engine.acquisitions if _is_james(each)]
    if not reads:
        yield problem(
            "james.no-acquisition",
            f"no source in {engine.folder}/acquis.d is labelled `type: james`",
            _NOBODY,
            f"install -D -m 644 {_COLLECTION}/acquis.d/james.yaml {engine.folder}/acquis.d/james.yaml",
            *_LOAD,
        )
    for each in reads:
        if each.files and len(each.missing) == len(each.files):
            yield problem(
                "james.no-file",
                f"{each.path} reads {', '.join(each.missing)}, and there is no such file",
                _NOBODY,
                edit(each.path, "where James writes its log"),
                "systemctl restart crowdsec",
            )
    if reads and any(each.kind == "syslog" for each in reads):
        yield note(
            "james.journal",
            "CrowdSec reads James's log from the journal: it needs SyslogIdentifier=james there",
        )


def _is_james(each: Acquisition) -> bool:
    return each.kind.startswith("james") or (each.kind == "syslog" and "james" in each.path.name)
