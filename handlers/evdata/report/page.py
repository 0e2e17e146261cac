"""The page: HTML that needs nothing beside itself. Pure: facts in, text out.

Three walls between the source's text and the reader's browser: `html.escape` for what is written into the page, JSON
without any character that HTML knows for what is drawn, and a content security policy that runs only the two scripts
of the page, known by their digests, and lets none of them reach the network.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

from evdata.dataset import DATASET
from evdata.report import changes, health, present
from evdata.report.facts import Facts
from evdata.report.figure import Figure
from evdata.report.words import be, counted, day, name, share, signed

ASSETS: Final = Path(__file__).with_name("assets")
SOURCE: Final = f"https://data.wa.gov/d/{DATASET.dataset_id}"
LICENCE: Final = "https://opendatacommons.org/licenses/odbl/1-0/"


def page(facts: Facts, *, note: str = "") -> str:
    """Return the report as one HTML page.

    `note` is what a reader must know before any number, such as that the vehicles are a sample; it stays in view.
    """
    shapes = json.loads(_asset("counties.json"))
    sections = _sections(facts, [shape["properties"]["name"] for shape in shapes["features"]])
    figures = [figure for _, _, _, some in sections for figure in some]
    echarts, script = _asset("echarts.js"), _asset("page.js")
    headline, headline_html = _headline(facts, note)
    version = facts.version
    return Template(_asset("page.html")).substitute(
        title=html.escape(f"{headline}{f', {day(version.dataset_version)}' if version else ''}"),
        headline=html.escape(headline),
        note=f'<p class="note" role="note">{html.escape(note)}</p>' if note else "",
        headline_html=headline_html,
        as_of=health.as_of(facts),
        lead=html.escape(_lead(facts)),
        key_figures=_key_figures(facts),
        navigation="".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _, _ in sections),
        sections="".join(map(_section, sections)),
        footer=_FOOTER,
        css=_asset("page.css"),
        pictures=script_json({figure.id: figure.picture for figure in figures if figure.picture}),
        shapes=script_json(shapes),
        echarts=echarts,
        script=script,
        script_hashes=" ".join(map(_digest, (echarts, script))),
    )


def script_json(document: Any) -> str:
    """Return JSON that can stand in a <script>: no <, >, & nor anything that is not ASCII, all written as \\uXXXX."""
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# --- The head ---


def _headline(facts: Facts, note: str) -> tuple[str, str]:
    """Return the headline as text, and as HTML with its number set large."""
    if not facts.version:
        text = "No version of the register has been published yet"
        return text, text
    one = facts.vehicles == 1
    words = f"electric vehicle{'' if one else 's'} {be(facts.vehicles)} " + (
        "in this part of Washington State's register" if note else "registered with Washington State"
    )
    return f"{facts.vehicles:,} {words}", f"<b>{facts.vehicles:,}</b> {words}"


def _lead(facts: Facts) -> str:
    version, before = facts.version, facts.before
    if not version:
        return "The pipeline has not published anything into its table. Its first version will be shown here."
    if not facts.vehicles:
        return f"All {counted(version.rejected, 'row')} of this version were rejected." if version.rejected else ""
    sentences = []
    if before and before.vehicles != facts.vehicles:
        more = "more" if facts.vehicles > before.vehicles else "fewer"
        by = abs(facts.vehicles - before.vehicles)
        percent = f" ({abs(facts.vehicles - before.vehicles) / before.vehicles:.1%})" if before.vehicles else ""
        sentences.append(f"That is {by:,} {more}{percent} than on {day(before.dataset_version)}.")
    elif before:
        sentences.append(f"That is as many as on {day(before.dataset_version)}.")
    hybrids = facts.vehicles - facts.battery_electric
    sentences.append(
        f"{facts.battery_electric:,} run on batteries alone; {hybrids:,} {be(hybrids)} plug-in hybrids."
        if facts.battery_electric
        else "All are plug-in hybrids."
    )
    if version.kept:
        sentences.append(
            f"{counted(version.kept, 'vehicle')} {be(version.kept)} shown as last known: what the source sent of "
            f"{'it' if version.kept == 1 else 'them'} was rejected."
        )
    return " ".join(sentences)


def _key_figures(facts: Facts) -> str:
    version, before = facts.version, facts.before
    if not version or not facts.vehicles:
        return ""
    known = sum(one.known for one in facts.ranges)
    county = next((group for group in facts.counties if group.name), None)
    shown = [
        (signed(facts.vehicles - before.vehicles), f"vehicles since {day(before.dataset_version)}")
        if before
        else ("1st", "version on record: there is none before it to compare with"),
        (share(facts.battery_electric, facts.vehicles), f"run on batteries alone: {facts.battery_electric:,}"),
        (share(county.vehicles, facts.vehicles), f"are in {name(county.name)} County: {county.vehicles:,}")
        if county
        else (share(0, 1), "have a known county of Washington"),
        (share(known, facts.vehicles), f"have a known range: {known:,}"),
    ]
    return "".join(f"<div><dt>{html.escape(what)}</dt><dd>{html.escape(figure)}</dd></div>" for figure, what in shown)


# --- The sections ---

type Section = tuple[str, str, str, Sequence[Figure]]  # anchor, title, HTML, figures after it


def _sections(facts: Facts, shapes: Sequence[str]) -> list[Section]:
    return [
        ("growth", "Growth", "", [present.population(facts)]),
        ("places", "Places", "", [present.county_map(facts, shapes), present.counties(facts)]),
        ("makes-and-models", "Makes and models", "", [present.makes(facts), present.models(facts)]),
        ("model-years", "Model years", "", [present.model_years(facts)]),
        ("range", "Range", "", [present.known_ranges(facts), present.median_ranges(facts)]),
        ("this-version", "This version", "", [changes.flows(facts), changes.moves(facts), changes.net_moves(facts)]),
        ("pipeline", "Pipeline", health.to_html(facts), []),
        ("data", "The data", _DATA, []),
    ]


def _section(section: Section) -> str:
    anchor, title, body, figures = section
    drawn = f'<div class="figures">{"".join(map(_figure, figures))}</div>' if figures else ""
    return f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{title}</h2>{body}{drawn}</section>'


def _figure(figure: Figure) -> str:
    finding, of, remark = (html.escape(text) for text in (figure.finding, figure.of, figure.remark))
    label = f"{finding}. {of}. The table below has the numbers."
    picture = (
        f'<div class="picture" id="{figure.id}" role="img" aria-label="{label}"></div>'
        if figure.picture
        else f'<p class="nothing">{html.escape(figure.why_not)}</p>'
    )
    caption = html.escape(figure.table.caption)
    table = (
        f'<details><summary>The numbers as a table<span class="hidden">: {caption}</span></summary>'
        f'<div class="behind" role="region" tabindex="0" aria-label="{caption}">{figure.table.to_html()}</div>'
        "</details>"
        if figure.table.rows
        else ""
    )
    return (
        f'<figure class="{figure.size}" aria-labelledby="{figure.id}-title">'
        f'<h3 id="{figure.id}-title">{finding}</h3><p class="of">{of}</p><div>{picture}</div>'
        f"<div>{f'<p class="remark">{remark}</p>' if remark else ''}{table}</div></figure>"
    )


_DATA: Final = f"""<div class="prose">
<p>Contains information from <a href="{SOURCE}">{html.escape(DATASET.title)}</a>, Washington State Department of
Licensing, made available under the <a href="{LICENCE}">Open Database License (ODbL) 1.0</a>. Whoever shows or passes on
what is made of it owes the same notice.</p>
<p>The register lists vehicles that are registered now, not vehicles sold: they leave it when they are sold out of
state, scrapped or not renewed, and can come back. The place is the registered owner's. A range of 0 in the source means
not researched, and is shown as such.</p>
<p>How to get the data:</p>
<ul>
<li>a picture's numbers: open the table below it and save it as CSV;</li>
<li>this page: <code>reports/latest.html</code> in the pipeline's bucket, those of recent versions beside it;</li>
<li>every vehicle, now and before: the tables <code>{DATASET.table}</code> and <code>{DATASET.table}_history</code> of
the pipeline's PostgreSQL database, and its views <code>ev_…</code>, which these pictures were drawn from;</li>
<li>the source itself: <a href="{SOURCE}">{SOURCE.removeprefix("https://")}</a>.</li>
</ul></div>"""
_FOOTER: Final = (
    f"<p>Data: {html.escape(DATASET.attribution)}. Charts: Apache ECharts, Apache License 2.0. "
    "County boundaries: United States Census Bureau, 2017.</p>"
)


def _asset(filename: str) -> str:
    return (ASSETS / filename).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """Return a script as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
