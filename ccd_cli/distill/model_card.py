"""The model card of a run."""

from __future__ import annotations

from typing import Any


def model_card(name: str, facts: dict[str, Any]) -> str:
    """Return Markdown that says what the student is, where it comes from, under which license, and how well it did."""
    teachers = "\n".join(
        f"| {t['name']} | {t['share']:.0%} | {t['kind']} | {t['license']} | `{t['sha256'][:16]}` |"
        for t in facts["teachers"]
    )
    lines = [
        f"# {name}",
        "",
        f"A monocular depth model that predicts **{facts['kind']}** ({facts['direction']}; {facts['unit']}), distilled with "
        f"ccd {facts['version']}.",
        "",
        f"* Architecture: `{facts['arch']}`, {facts['parameters'] / 1e6:.1f} M parameters, initialized: {facts['init']}",
        f"* Input side in training: {facts['resolution']} pixels",
        f"* Photos: {facts['photos']} found, {facts['skipped']} unreadable; {facts['steps']} steps of {facts['batch']} photos",
        f"* Computed on: {facts['runtime']}",
        f"* Recipe hash: `{facts['recipe_hash'][:16]}` (the whole recipe is `recipe.yaml` beside this card)",
        "",
        "## License",
        "",
        f"**{facts['license']}**: the strictest license among its teachers and the weights it began from. {facts['license_note']}",
        "",
        "## Teachers",
        "",
        "| teacher | share | kind | license | sha256 |",
        "|---|---|---|---|---|",
        teachers,
        "",
        "## Numbers",
        "",
        *facts["numbers"],
        "",
        "## Limits",
        "",
        "The map is relative: its scale and shift are unknown, and it inherits its teachers' errors. No score beyond those "
        "above was measured.",
        "",
    ]
    return "\n".join(lines)
