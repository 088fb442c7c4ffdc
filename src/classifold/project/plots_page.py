"""The page template of `dvc plots`. It contains its chart library, so that it opens offline."""

import vl_convert

USE = "window.vegaEmbed = vegaEmbed;"  # the one function that DVC calls
VEGA_LITE = "5.20"  # the version 5 that DVC writes its charts for

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Plots</title>
{{refresh_tag}}
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem; }}
table {{ border-spacing: 15px; }}
</style>
<script>{library}</script>
</head>
<body>
{{plot_divs}}
</body>
</html>
"""


def make_plots_page() -> str:
    """Make the HTML: Vega, Vega-Lite and Vega-Embed in one script, and DVC's placeholders."""
    return PAGE.format(library=vl_convert.javascript_bundle(USE, vl_version=VEGA_LITE))
