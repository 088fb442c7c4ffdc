"""A model card: what the classifier is, what it learnt from, how good it is and where it is not.

Source: Mitchell et al. 2019, arXiv:1810.03993.
"""

import html
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from classifold.plain_text import plain_text
from classifold.reporting.facts import MAJORITY, STACK, Facts
from classifold.reporting.measures import count, decimal, first_upper
from classifold.reporting.provenance import Provenance
from classifold.reporting.tables import compared_slices, lowest
from classifold.reporting.wording import balance_sentence, limit_sentence, verdict

HERE = Path(__file__).parent
MOST_WORST_CLASSES = 5


def write_model_card(path: Path, facts: Facts, provenance: Provenance) -> None:
    """Write the card, in Markdown.

    Args:
        path: of the file; its folder is there.
        facts: of the run.
        provenance: of the code.
    """
    environment = Environment(  # noqa: S701 - Markdown: `plain` escapes what comes from data
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {word.__name__: word for word in (count, decimal, first_upper, plain)}
    card = environment.get_template("model_card.md").render(
        facts=facts,
        metrics=facts.metrics,
        trained=facts.metrics["models"],
        scores={name: facts.metrics["test"][name] for name in (*facts.models, STACK, MAJORITY)},
        classes=facts.classes,
        measure=facts.measure,
        several=facts.task == "multi",
        threshold=facts.threshold,
        verdict=verdict(facts),
        short_form=limit_sentence(facts.params["limit"]),
        balance=balance_sentence(facts.metrics["filter"]),
        worst=lowest(facts.per_class, most=MOST_WORST_CLASSES),
        slices=compared_slices(facts.slices),
        provenance=provenance,
        MAJORITY=MAJORITY,
    )
    path.write_text(re.sub(r"\n{3,}", "\n\n", card), encoding="utf-8")


def plain(text: str) -> str:
    """Text on one line, of which Markdown, and HTML within it, reads nothing."""
    line = plain_text(" ".join(text.split()))
    escaped = re.sub(r"([\\`*_\[\]|#~!$])", r"\\\1", html.escape(line, quote=False))
    # GitHub makes links of bare addresses, too.
    return re.sub(r"(:)(?=//)|(?<=www)(\.)", r"\\\1\2", escaped, flags=re.IGNORECASE)
