"""Write a model card: the classifier, its intended use, its training data and its scores.

Source: Mitchell et al. 2019, arXiv:1810.03993.
"""

from pathlib import Path

from classifold.data.model_settings import with_defaults
from classifold.data.predictions import MAJORITY, STACK
from classifold.evaluation.outcomes import describe_absent_classes
from classifold.reporting.facts import Facts
from classifold.reporting.markdown import render_markdown
from classifold.reporting.provenance import Provenance
from classifold.reporting.sections.data import describe_class_balance
from classifold.reporting.sections.robustness import describe_robustness
from classifold.reporting.sections.seeds import describe_spread
from classifold.reporting.sections.slices import slices_of_several_groups
from classifold.reporting.sections.summary import describe_limit, summarize
from classifold.reporting.sections.test import MAX_WORST_CLASSES, lowest_f1
from classifold.reporting.sections.uncertainty import describe_coverage
from classifold.reporting.weights import weights_table


def write_model_card(path: Path, facts: Facts, provenance: Provenance) -> None:
    """Write the model card, in Markdown.

    Args:
        path: file to write; its folder must exist.
        facts: settings and results of the run.
        provenance: commit of the code and versions of the packages.
    """
    card = render_markdown(
        "model_card.md",
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
        describe_spread=describe_spread,
        worst=lowest_f1(facts.per_class, n_classes=MAX_WORST_CLASSES),
        absent_classes=describe_absent_classes(facts.metrics["test"][STACK]),
        measured=[*describe_coverage(facts), *describe_robustness(facts)],
        slices=slices_of_several_groups(facts.slices),
        provenance=provenance,
        MAJORITY=MAJORITY,
    )
    path.write_text(card, encoding="utf-8")
