"""The page template of `dvc plots`.

It contains its chart library, so that it opens offline. DVC inserts data into a script of the page
without escaping them, so that a name could end the script and begin another one. Therefore the
page holds the charts in an inert template, and its content security policy lets only one script
run: that of `DRAW`, which draws the charts.
"""

import base64
import hashlib
from importlib.metadata import version
from pathlib import Path

import vl_convert

VEGA_LITE = "5.20"  # the version 5 that DVC writes its charts for

# In CSV files the first apostrophe of a text, and some characters before it, are escapes, as
# `data/csv_file.py` describes. `vegaEmbed` is in scope.
DRAW = r"""const asWritten = (value) => typeof value === "string"
  ? value.replace(/^'/, "").replace(/\\u00(3c|5c)/g, (_, code) => code === "3c" ? "<" : "\\")
  : value;

const options = {
  ast: true, // the policy forbids code that is made of texts
  actions: {export: true, source: false, compiled: false, editor: false},
};

async function draw(place, text) {
  const spec = JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1));
  for (const row of spec.data?.values ?? []) {
    for (const name of Object.keys(row)) row[name] = asWritten(row[name]);
  }
  await vegaEmbed(place, spec, options);
}

addEventListener("DOMContentLoaded", async () => {
  const plots = document.getElementById("plots");
  const charts = [...plots.content.querySelectorAll("div > script")].map((script) => ({
    script, place: script.parentElement,
  }));
  for (const script of plots.content.querySelectorAll("script")) script.remove();
  document.body.append(plots.content);
  for (const {script, place} of charts) {
    try {
      await draw(place, script.textContent);
    } catch (error) {
      place.textContent = `This chart cannot be drawn: ${error}`;
    }
  }
  document.body.dataset.drawn = charts.length;
});
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
img-src 'self' file: data: blob:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; \
base-uri 'none'; form-action 'none'">
<title>Plots</title>
<link rel="icon" href="data:,">
{{refresh_tag}}
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem; }}
table {{ border-spacing: 15px; }}
</style>
<script>{library}</script>
</head>
<body>
<template id="plots">
{{plot_divs}}
</template>
</body>
</html>
"""


def make_plots_page() -> str:
    """Make the HTML: Vega, Vega-Lite and Vega-Embed in one script, and DVC's placeholders."""
    library = vl_convert.javascript_bundle(DRAW, vl_version=VEGA_LITE)
    # A carriage return would become a line feed when the page is read, and change the hash.
    library = library.replace("\r\n", "\n").replace("\r", "\n")
    digest = base64.b64encode(hashlib.sha256(library.encode()).digest()).decode()
    return PAGE.format(library=library, digest=digest) + _stamp()


def write_plots_page(path: Path) -> None:
    """Write the page unless the file is up to date; making it takes a second or two."""
    if not (path.is_file() and path.read_bytes().endswith(_stamp().encode())):
        path.write_text(make_plots_page(), encoding="utf-8", newline="\n")


def _stamp() -> str:
    """Return the last line of the page, a hash of what it is made from."""
    parts = (version("vl-convert-python"), VEGA_LITE, DRAW, PAGE)
    return f"<!-- {hashlib.sha256(repr(parts).encode()).hexdigest()} -->\n"
