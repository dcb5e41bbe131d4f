"""The report as Markdown."""

from collections.abc import Sequence
from typing import Any

from bioplausible.commands.report.sections import Section

NOTES = {
    "accuracy": "Accuracies are in percent: mean ± standard deviation (n − 1) over seeds, with the 95 % interval of the"
    " mean by Student's t. Validation accuracy chooses settings.",
    "published": "▲ marks a mean that differs from the published one by Welch's two-sided test (p < 0.05, each on its"
    " own). There is no test with fewer than three seeds on either side.",
    "tests": "Row minus column: mean difference of the test accuracy in points over the seeds that both have, p of the"
    " two-sided paired t-test corrected after Holm for all tests of the table, number of these seeds; * for p < 0.05."
    " There is no test with fewer than three seeds, or where all differences are equal.",
    "costs": "Cost of the whole training, the mean over seeds, and the accuracy after equal cost, on the line between"
    " two epochs: after what the cheapest run of the table had cost at its last accuracy or, where that is more, what"
    " the most expensive one had cost at its first. A run whose last accuracy came at less counts with that. Seconds"
    " are processor time in training batches, as the observer Cost measures them, and are left out where runs had"
    " different processors or numbers of threads; operations are those of matrix products and convolutions.",
    "speed": "Seconds per epoch are the median from one epoch's end to the next one's, validation included, without"
    " epochs in which a run was interrupted.",
}
"""What a reader has to know of the tables."""


def as_markdown(
    runs: int, parts: Sequence[Section], shown: list[dict[str, Any]], table: list[dict[str, Any]], made: str
) -> str:
    """Returns the report.

    Args:
        runs: how many there are.
        parts: its sections.
        shown: the table of the runs.
        table: the same with their configurations.
        made: what made the report.
    """
    lines = [f"# Report of {runs} {'run' if runs == 1 else 'runs'}", ""]
    lines += [f"{NOTES['accuracy']} {NOTES['published']} {NOTES['speed']}", ""]
    for part in parts:
        lines += [f"## {part.title}", "", *([f"{part.verdict}", ""] if part.verdict else []), *_table(part.rows), ""]
        if part.tests:
            lines += [NOTES["tests"], "", *_table(part.tests), ""]
        if part.costs:
            lines += [NOTES["costs"], "", *_table(part.costs), ""]
        for picture in part.pictures:
            lines += [f"![{picture.caption}](figures/{picture.name}.png)", ""]
    lines += ["## Runs", "", *_table(shown), "", "## Configurations", ""]
    for line in table:
        if line["config"]:
            lines += [f"### {line['run']}", "", "```yaml", line["environment"] + line["config"].rstrip(), "```", ""]
    return "\n".join([*lines, "## Made with", "", "```yaml", made.rstrip(), "```", ""])


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    names = list(rows[0])
    cells = [[str(row[name]).replace("|", "\\|") for name in names] for row in rows]
    lines = [[name.replace("_", " ") for name in names], ["---"] * len(names), *cells]
    return [f"| {' | '.join(line)} |" for line in lines]
