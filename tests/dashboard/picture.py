"""Draws the dashboard's panels from what tests/dashboard/run found; needs matplotlib, which nothing else here does.

python3 -m tests.dashboard.picture RESULTS PICTURE
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

DASHBOARD = Path(__file__).parents[2] / "packaging" / "grafana" / "fwbouncer.json"
BACK, PANEL, INK, DIM = "#111217", "#181b1f", "#d8d9da", "#8e9196"
COLORS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#b877d9", "#f2495c", "#8ab8ff", "#96d98d")
WIDTH, CELL = 24, 0.62  # columns; inches a row
UNITS = {"pps": "p/s", "Bps": "B/s", "reqps": "/s", "percentunit": "%", "s": "s", "bytes": "B"}


def shown(value: float, unit: str) -> str:
    """Write a number as a panel does."""
    if unit == "percentunit":
        return f"{100 * value:.1f} %"
    if unit == "s" and 0 < value < 1:
        return f"{1000 * value:.3g} ms"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}{UNITS.get(unit, '')}"
    return f"{value:.3g} {UNITS.get(unit, '')}".strip()


def label(series: dict[str, Any], legend: str) -> str:
    """Name a series."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: series["metric"].get(match[1], ""), legend)


def stat(axes: Any, panel: dict[str, Any], found: list[dict[str, Any]]) -> None:
    """Draw one large word."""
    series = found[0]["series"][0]
    value = float(series["values"][-1][1])
    defaults = panel["fieldConfig"]["defaults"]
    text = shown(round(value, 1), defaults["unit"])
    if panel["options"]["textMode"] == "name":
        text = label(series, found[0]["legend"])
    for mapping in defaults.get("mappings", ()):
        text = mapping["options"].get(f"{value:g}", {"text": text})["text"]
    color = PANEL
    for step in defaults.get("thresholds", {"steps": ()})["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = {"red": "#a4262c", "green": "#2c7a35", "orange": "#b35a00"}[step["color"]]
    axes.set_facecolor(color)
    axes.text(
        0.5,
        0.42,
        text,
        ha="center",
        va="center",
        color=INK,
        fontsize=17 if len(text) < 9 else 11,
        weight="bold",
    )
    axes.set_xticks([])
    axes.set_yticks([])


def lines(axes: Any, panel: dict[str, Any], found: list[dict[str, Any]], since: float) -> None:
    """Draw series over time."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    drawn = [(label(series, each["legend"]), series["values"]) for each in found for series in each["series"]]
    times = sorted({at for _, values in drawn for at, _ in values})
    below = [0.0] * len(times)
    for (name, values), color in zip(drawn, COLORS * 3, strict=False):
        known = {at: float(value) for at, value in values}
        heights = [known.get(at, math.nan) for at in times]
        x = [at - since for at in times]
        last = next((h for h in reversed(heights) if math.isfinite(h)), math.nan)
        if stacked:
            heights = [b + (h if math.isfinite(h) else 0.0) for b, h in zip(below, heights, strict=True)]
            axes.fill_between(x, below, heights, color=color, alpha=0.45, linewidth=0)
            below = heights
        axes.plot(x, heights, color=color, linewidth=1.1, label=f"{name}  {shown(last, unit)}")
    axes.set_ylim(0, 1.3 * axes.dataLim.ymax or 1)  # with room for the names
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, unit))
    axes.xaxis.set_major_formatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02}")
    axes.yaxis.set_major_locator(plt.MaxNLocator(4))
    axes.grid(color="#2c2f36", linewidth=0.6)
    axes.tick_params(colors=DIM, labelsize=7, length=0)
    axes.legend(
        fontsize=7,
        facecolor=PANEL,
        edgecolor="none",
        labelcolor=INK,
        loc="upper left",
        ncols=2,
        framealpha=0.7,
    )


def main(results: Path, picture: Path) -> None:
    """Draw all of it."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = json.loads(results.read_text())
    since = min(each["values"][0][0] for one in found for each in one["series"] if len(each["values"]) > 1)
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    figure = plt.figure(figsize=(15, rows * CELL * 0.62), facecolor=BACK)
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        left, wide = at["x"] / WIDTH, at["w"] / WIDTH
        low, high = 1 - (at["y"] + at["h"]) / rows, at["h"] / rows
        timed = panel["type"] == "timeseries"
        edge = 0.036 if timed else 0.003
        axes = figure.add_axes(
            (left + edge, low + (0.018 if timed else 0.004), wide - edge - 0.006, high - 0.042)
        )
        axes.set_facecolor(PANEL)
        axes.set_title(panel["title"], color=INK, fontsize=9, loc="left", pad=4)
        for side in axes.spines.values():
            side.set_visible(False)
        ours = [one for one in found if one["panel"] == panel["id"]]
        if timed:
            lines(axes, panel, ours, since)
        else:
            stat(axes, panel, ours)
    figure.savefig(picture, dpi=90, facecolor=BACK)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
