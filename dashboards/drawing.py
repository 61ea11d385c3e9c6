"""How a panel looks: a function for each kind of panel, as Grafana would draw it. Needs matplotlib."""

from math import inf

from matplotlib import patches

COLOURS = {
    "green": "#56a64b", "yellow": "#f2cc0c", "red": "#e02f44", "orange": "#ff780a", "blue": "#3274d9",
    "text": "#7b8087", "purple": "#a352cc",
}
PALETTE = [COLOURS[name] for name in ("green", "yellow", "blue", "orange", "red", "purple")]
PALETTE += ["#37872d", "#8f3bb8", "#70dbed", "#e0b400", "#1f60c4", "#c4162a"]
SCALES = {
    "short": (1000, ["", " K", " Mil", " Bil"]), "mps": (1000, [" mps", "K mps", "M mps"]),
    "reqps": (1000, [" req/s", "K req/s"]), "watt": (1000, [" W", " kW"]), "celsius": (1000, [" °C"]),
    "bytes": (1024, [" B", " KiB", " MiB", " GiB", " TiB"]), "Bps": (1000, [" B/s", " kB/s", " MB/s", " GB/s"]),
    "decmbytes": (1000, [" MB", " GB", " TB"]), "percent": (1000, ["%"]),
}
TIMES = [(86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")]


def said(value, unit):
    """A value as Grafana says it in this unit."""
    if unit == "percentunit":
        return said(100 * value, "percent")
    if unit == "s":
        size, name = next((time for time in TIMES if value >= time[0]), (1, "s"))
        return f"{value / size:.3g} {name}"
    base, names = SCALES.get(unit) or (1000, [unit.removeprefix("suffix:")])
    for name in names[:-1]:
        if abs(value) < base:
            return f"{value:.3g}{name}"
        value /= base
    return f"{value:.3g}{names[-1]}" if value < 10000 else f"{value:.0f}{names[-1]}"


def short(name):
    return name if len(name) <= 24 else f"{name[:12]}…"


def stat(axes, panel):
    text = said(panel.series[0].values[-1], panel.unit) if panel.has_data else panel.defaults.get("noValue", "No data")
    coloured = panel.options["colorMode"] == "background" and panel.has_data
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if coloured:
        axes.set_facecolor(panel.threshold(panel.series[0].values[-1]))
    colour = "white" if coloured else COLOURS["green" if panel.has_data else "text"]
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=16, color=colour)


def timeseries(axes, panel):
    custom, bottom, legends = panel.defaults["custom"], {}, []
    for number, one in enumerate(panel.series):
        colour = panel.colours.get(one.legend) or PALETTE[number % len(PALETTE)]
        low = [bottom.get(moment, 0) for moment in one.moments]
        high = [below + value for below, value in zip(low, one.values)]
        if custom["stacking"]["mode"] == "normal":
            bottom |= {moment: top for moment, top in zip(one.moments, high) if top == top}
        axes.plot(one.moments, high, color=colour, linewidth=custom["lineWidth"])
        axes.fill_between(one.moments, low, high, color=colour, alpha=custom["fillOpacity"] / 100, linewidth=0)
        legends.append(patches.Patch(color=colour, label=short(one.legend)))
    if custom["thresholdsStyle"]["mode"] != "off":
        for step in panel.defaults["thresholds"]["steps"][1:]:
            axes.axhline(step["value"], color=COLOURS[step["color"]], linestyle="--", linewidth=0.8)
    axes.set_ylim(0, panel.defaults.get("max"))
    axes.yaxis.set_major_formatter(lambda value, _: said(value, panel.unit))
    axes.grid(alpha=0.3)
    axes.legend(handles=legends, loc="upper left", bbox_to_anchor=(-0.02, -0.1), fontsize=6, frameon=False, ncols=6,
                columnspacing=1, handlelength=1)


def heatmap(axes, panel):
    rows = sorted(panel.series, key=lambda one: float(one.labels["le"]))
    most, below = max(map(max, (row.values for row in rows))) or 1, [0] * len(rows[0].values)
    for height, row in enumerate(rows):
        alone = [value - less for value, less in zip(row.values, below)]
        axes.pcolormesh(row.moments, [height, height + 1], [alone, alone], cmap="Oranges", shading="nearest", vmin=0,
                        vmax=most)
        below = row.values
    bounds = [float(row.labels["le"]) for row in rows]
    axes.set_yticks(range(len(rows)), ["more" if le == inf else f"≤ {said(le, panel.unit)}" for le in bounds])


def timeline(axes, panel):
    words = panel.defaults["mappings"][0]["options"]
    for height, one in enumerate(panel.series):
        for moment, following, value in zip(one.moments, one.moments[1:], one.values):
            colour = COLOURS[words[f"{value:.0f}"]["color"]]
            axes.barh(height, following - moment, left=moment, color=colour, height=0.8)
    axes.set_yticks(range(len(panel.series)), [short(one.legend) for one in panel.series])


def table(axes, panel):
    axes.set_axis_off()
    hidden, renamed = (panel.transformations[0]["options"][key] for key in ("excludeByName", "renameByName"))
    rows = [one.labels | {"Value": said(one.values[-1], panel.unit)} for one in panel.series]
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in hidden]
    cells = [[short(row.get(name, "")) for name in columns] for row in rows]
    titles = [renamed.get(name, name) for name in columns]
    drawn = axes.table(cells, colLabels=titles, loc="upper center", cellLoc="left", edges="horizontal")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7)


KINDS = {"stat": stat, "timeseries": timeseries, "heatmap": heatmap, "state-timeline": timeline, "table": table}
