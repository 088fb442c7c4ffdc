"""Write a model card: the classifier, its intended use, its training data and its scores.

Source: Mitchell et al. 2019, arXiv:1810.03993.
"""

import html
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from classifold.data.model_settings import with_defaults
from classifold.data.predictions import MAJORITY, STACK
from classifold.plain_text import plain_text
from classifold.reporting.environment import TEMPLATES
from classifold.reporting.facts import Facts
from classifold.reporting.formats import capitalize_first, count, decimal
from classifold.reporting.provenance import Provenance
from classifold.reporting.sections.data import describe_class_balance
from classifold.reporting.sections.slices import slices_of_several_groups
from classifold.reporting.sections.summary import describe_limit, summarize
from classifold.reporting.sections.test import MAX_WORST_CLASSES, lowest_f1
from classifold.reporting.weights import weights_table


def write_model_card(path: Path, facts: Facts, provenance: Provenance) -> None:
    """Write the model card, in Markdown.

    Args:
        path: file to write; its folder must exist.
        facts: settings and results of the run.
        provenance: commit of the code and versions of the packages.
    """
    environment = Environment(  # noqa: S701 - Markdown: the filter `plain` escapes text from data
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (capitalize_first, count, decimal, plain)
    environment.filters |= {function.__name__: function for function in filters}
    card = environment.get_template("model_card.md").render(
        facts=facts,
        metrics=facts.metrics,
        models={
            name: with_defaults(model, size=facts.params["augment"]["size"], task=facts.task)
            for name, model in facts.params["models"].items()
        },
        trained=facts.metrics["models"],
        scores={name: facts.metrics["test"][name] for name in (*facts.models, STACK, MAJORITY)},
        classes=facts.classes,
        metric=facts.main_metric,
        multi=facts.task == "multi",
        threshold=facts.threshold,
        summary=summarize(facts),
        short_form=describe_limit(facts.params["limit"]),
        weights=weights_table(facts.weights).rows,
        balance=describe_class_balance(facts.metrics["filter"]),
        worst=lowest_f1(facts.per_class, n_classes=MAX_WORST_CLASSES),
        slices=slices_of_several_groups(facts.slices),
        provenance=provenance,
        MAJORITY=MAJORITY,
    )
    path.write_text(re.sub(r"\n{3,}", "\n\n", card), encoding="utf-8")


def plain(text: str) -> str:
    """Escape text for one line of Markdown, including HTML in it."""
    line = plain_text(" ".join(text.split()))
    escaped = re.sub(r"([\\`*_\[\]|#~!$])", r"\\\1", html.escape(line, quote=False))
    # GitHub also turns bare addresses into links.
    return re.sub(r"(:)(?=//)|(?<=www)(\.)", r"\\\1\2", escaped, flags=re.IGNORECASE)
