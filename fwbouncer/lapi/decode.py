"""Checks raw decisions field by field and puts them into a Page; a bad one is skipped, the rest go in."""

from __future__ import annotations

from array import array
from enum import StrEnum
from itertools import repeat
from operator import contains, itemgetter
from typing import TYPE_CHECKING, Any, cast

from fwbouncer.core.duration import nanoseconds
from fwbouncer.core.guard import UNSAFE, refusal
from fwbouncer.core.model import Family, Label, Page
from fwbouncer.core.names import escaped, shown
from fwbouncer.errors import LapiBadAnswer
from fwbouncer.lapi.address import address_key, address_keys
from fwbouncer.lapi.page import PageParser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fwbouncer.core.model import AddressKey, Millis

    # Makes the label of an origin, a scenario and a type, or says in words why such decisions are not enforced.
    LabelOf = Callable[[str, str, str], Label | str]

MAX_BANS = 3_000_000  # in one page; each costs about 100 bytes
MAX_EXAMPLES = 10
MAX_LABELS = 20_000
MAX_IGNORED = 32
_MAX_NAME = 255
_TOO_MANY = "(too many different ones)"
_MAX_DURATIONS = 20_000
_SORT = itemgetter("scope", "type", "origin", "scenario")
_DURATION = itemgetter("duration")
_TEXTS = ("value", "duration", "scope", "type", "origin", "scenario")


class Reject(StrEnum):
    """Why a decision was skipped."""

    NO_OBJECT = "decision is no object"
    BAD_ID = "id is no whole number from 0 to 2^63-1"
    MISSING = "field is missing"
    WRONG_TYPE = "field has the wrong type"
    NO_ADDRESS = "value is no address"
    REFUSED = "value must never be banned"
    NO_DURATION = "duration is no duration"
    OVER = "duration is not positive"


class _Rejected(Exception):
    """One decision can't be used."""

    def __init__(self, reason: Reject, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Decoder:
    """What outlives a page: the rules, and the labels that decisions share."""

    def __init__(
        self,
        *,
        families: Iterable[Family],
        label_of: LabelOf,
    ) -> None:
        self._label_of = label_of
        self._labels: dict[tuple[str, str, str], Label] = {}
        # (scope, type, origin, scenario) as written -> its label, or the name under which it is ignored
        self.sorts: dict[tuple[str, str, str, str], Label | str] = {}
        off = set(Family) - set(families)
        self.disabled = {
            size: f"IPv{family.value} disabled" for family in off for size in (family.size, family.size + 1)
        }

    def begin(self, *, startup: bool, now: Millis) -> PageBuilder:
        """Start a page whose durations count from `now`."""
        if len(self._labels) >= MAX_LABELS or len(self.sorts) >= MAX_LABELS:
            self._labels.clear()
            self.sorts.clear()
        return PageBuilder(self, startup=startup, now=now)

    def decode(self, body: bytes, *, startup: bool, now: Millis) -> Page:
        """Decode a whole body at once."""
        builder = self.begin(startup=startup, now=now)
        parser = PageParser(builder.sinks)
        parser.feed(body)
        parser.close()
        return builder.page

    def sort(self, scope: str, kind: str, origin: str, scenario: str) -> Label | str:
        """Find the label of a decision, or the name under which it is ignored."""
        found: Label | str
        if scope.lower() not in ("ip", "range"):
            found = f"scope {escaped(scope, 40)}"
        elif kind.lower().startswith("simulation:"):
            found = "simulated"
        else:
            found = self._label(kind, _clean(origin), _clean(scenario))
        # Longer names are not worth remembering: thousands of them would fill the memory.
        length = len(scope) + len(kind) + len(origin) + len(scenario)
        if len(self.sorts) < MAX_LABELS and length < 4 * _MAX_NAME:
            self.sorts[scope, kind, origin, scenario] = found
        return found

    def _label(self, kind: str, origin: str, scenario: str) -> Label | str:
        label = self._labels.get((kind.lower(), origin, scenario))
        if label is not None:
            return label
        found = self._label_of(origin, scenario, kind)
        if isinstance(found, str):
            return found
        if len(self._labels) >= MAX_LABELS:  # the ban counts more than its name
            found = Label(_TOO_MANY, found.group, found.type, found.group)
        return self._labels.setdefault((found.type, found.origin, found.scenario), found)


class PageBuilder:
    """Fills one page, batch by batch."""

    def __init__(self, decoder: Decoder, *, startup: bool, now: Millis) -> None:
        self.page = Page(startup=startup)
        self.sinks = {"new": self.new, "deleted": self.deleted}
        self._decoder = decoder
        self.now = now  # what durations count from; may move on from batch to batch
        self._durations: dict[
            str, Millis
        ] = {}  # those met before: the entries of a list end in the same second

    def new(self, rows: list[Any]) -> None:
        """Take raw decisions that are in force."""
        if not self._all_alike(rows):
            self._one_by_one(rows)
        if len(self.page.ids) > MAX_BANS:
            raise LapiBadAnswer(f"the answer has more than {MAX_BANS} bans")

    def _all_alike(self, rows: list[Any]) -> bool:
        """Take them column by column, which is faster; returns False, and does nothing, if there is anything odd."""
        if self._decoder.disabled:  # then some are likely to be ignored
            return False
        page, durations = self.page, self._durations
        try:
            labels = [*map(self._decoder.sorts.get, map(_SORT, rows))]
            ids = [row["id"] for row in rows]
            keys = address_keys([row["value"] for row in rows])
            lasting = [durations.get(text) or self._duration(text) for text in map(_DURATION, rows)]
            deadlines = array("q", map(self.now.__add__, lasting))
            numbers = array("q", ids)
        except (LookupError, TypeError, ValueError, OSError, OverflowError, _Rejected):
            return False
        usual = set(map(type, labels)) == {Label} and set(map(type, ids)) == {int} and min(ids) >= 0
        if not usual or keys is None or any(map(contains, rows, repeat("simulated"))):
            return False
        if any(map(refusal, [key for key in keys if key[0] in UNSAFE or len(key) & 1])):
            return False
        page.ids += numbers
        page.keys += keys
        page.deadlines += deadlines
        page.labels += cast("list[Label]", labels)
        return True

    def _one_by_one(self, rows: list[Any]) -> None:
        page, sorts = self.page, self._decoder.sorts
        disabled, durations, now = self._decoder.disabled, self._durations, self.now
        for row in rows:
            try:
                sort = sorts.get((row["scope"], row["type"], row["origin"], row["scenario"]))
                if sort is None or "simulated" in row:
                    sort = self._sort(row)
                if isinstance(sort, str):
                    self._ignore(sort)
                    continue
                number = row["id"]
                key = _checked(number, row["value"])
                if len(key) in disabled:
                    self._ignore(disabled[len(key)])
                    continue
                deadline = now + (durations.get(row["duration"]) or self._duration(row["duration"]))
            except _Rejected as rejected:
                self._reject(row, rejected)
            except (KeyError, TypeError, AttributeError):
                self._odd(row)
            else:
                page.ids.append(number)
                page.keys.append(key)
                page.deadlines.append(deadline)
                page.labels.append(sort)

    def deleted(self, rows: list[Any]) -> None:
        """Take raw decisions that are over; nothing but their ids matters."""
        ended = self.page.ended
        for row in rows:
            number = row.get("id") if isinstance(row, dict) else None
            if type(number) is int and 0 <= number < 2**63:
                ended.append(number)
            elif isinstance(row, dict):
                self._reject(row, _Rejected(Reject.BAD_ID, f"id {shown(number)} among the deleted"))
            else:
                self._reject(row, _Rejected(Reject.NO_OBJECT, f"{shown(row)} among the deleted is no object"))

    def _sort(self, row: dict[str, Any]) -> Label | str:
        names = [row[field] for field in ("scope", "type", "origin", "scenario")]
        for name in names:
            if not isinstance(name, str):
                raise TypeError
        simulated = row.get("simulated")
        if simulated is True:
            return "simulated"
        if simulated is not None and simulated is not False:
            raise TypeError
        return self._decoder.sort(*names)

    def _duration(self, text: str) -> Millis:
        exact = nanoseconds(text)
        if exact is None:
            raise _Rejected(Reject.NO_DURATION, f"duration {shown(text)} is no duration")
        if exact < 1_000_000:  # the kernel counts milliseconds, and takes 0 for "for ever"
            raise _Rejected(Reject.OVER, f"duration {shown(text)} is not positive")
        duration = exact // 1_000_000
        if len(self._durations) < _MAX_DURATIONS:
            self._durations[text] = duration
        return duration

    def _odd(self, row: Any) -> None:
        """Deal with a decision that lacks something or has the wrong types in it."""
        if not isinstance(row, dict):
            self._reject(row, _Rejected(Reject.NO_OBJECT, f"{shown(row)} is no object"))
            return
        # Who asked for a ban and why is good to know; without it the ban counts all the same.
        given = {name: value for name, value in row.items() if value is not None}
        whole = {"id": None, "origin": "", "scenario": "", "simulated": False} | given
        for field in _TEXTS:
            value = whole.get(field)
            if value is None:
                self._reject(row, _Rejected(Reject.MISSING, f"{field} is missing"))
                return
            if not isinstance(value, str):
                self._reject(row, _Rejected(Reject.WRONG_TYPE, f"{field} {shown(value)} is no text"))
                return
        if not isinstance(whole["simulated"], bool):
            detail = f"simulated {shown(whole['simulated'])} is neither true nor false"
            self._reject(row, _Rejected(Reject.WRONG_TYPE, detail))
            return
        self._one_by_one([whole])

    def _reject(self, row: Any, rejected: _Rejected) -> None:
        page = self.page
        page.rejects[rejected.reason] += 1
        if len(page.examples) < MAX_EXAMPLES:
            has = isinstance(row, dict) and "id" in row
            number = row["id"] if has and type(row["id"]) is int and 0 <= row["id"] < 2**63 else None
            named = shown(row["id"]) if has else "without id"
            page.examples.append((number, f"decision {named}: {rejected.detail}"))

    def _ignore(self, name: str) -> None:
        ignored = self.page.ignored
        if name not in ignored and len(ignored) >= MAX_IGNORED:
            name = "(others)"
        ignored[name] += 1


def _checked(number: Any, value: str) -> AddressKey:
    """Return the key of a decision's value, if both its id and its value are fit to be used."""
    if type(number) is not int or not 0 <= number < 2**63:  # true is an int to Python
        raise _Rejected(Reject.BAD_ID, f"id {shown(number)} is out of order")
    key = address_key(value)
    if key is None:
        raise _Rejected(Reject.NO_ADDRESS, f"value {shown(value)} is no address")
    why = refusal(key)
    if why is not None:
        raise _Rejected(Reject.REFUSED, f"value {shown(value)} {why}")
    return key


def _clean(name: str) -> str:
    """Cut a name, and replace halves of surrogate pairs, which no file or socket would take."""
    return name[:_MAX_NAME].encode("utf-8", "replace").decode("utf-8")
