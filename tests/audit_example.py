"""An audit as training stores it, made up: numbers for pages, with a hostile name among them."""

from __future__ import annotations

from typing import Any

ACCURACY = (0.61, 0.63, 0.66, 0.68, 0.72, 0.73, 0.71, 0.7, 0.69, 0.66, 0.64)


def audit_entry(hostile: str = "", classes: int = 8) -> dict[str, Any]:
    """The audit of a cut among eleven.

    Args:
        hostile: Name of the last class.
        classes: Classes, a count.
    """

    def row(name: str, accuracy: float, **more: int) -> dict[str, Any]:
        metrics = {"accuracy": accuracy, "macro_f1": round(accuracy - 0.03, 3)}
        return {"row": name, "metrics": metrics, **more}

    names = [f"class {number}" for number in range(classes - 1)]
    return {
        "task": "desk",
        "axis": "cut",
        "metric": "accuracy",
        "names": [str(cut) for cut in range(len(ACCURACY))],
        "examples": 1000,
        "of": 1200,
        "rows": [
            row("own", 0.747),
            row("mixture", 0.751, passes=11),
            row("modal", 0.72, choice=4),
            row("shuffled", 0.705, draws=8),
            row("uniform", 0.674, draws=8),
            row("best_fixed", 0.73, choice=5),
            row("best_each", 0.861),
            *(row("fixed", value, choice=cut) for cut, value in enumerate(ACCURACY)),
        ],
        "gains": [
            {"over": "modal", "value": 0.027, "low": -0.004, "high": 0.058},
            {"over": "shuffled", "value": 0.042, "low": 0.016, "high": 0.069},
        ],
        "information": {"nats": 0.213, "chance": 0.014, "p": 0.001},
        "classes": [*names, hostile or f"class {classes - 1}"],
        "by_class": [
            [(7 * number + 3 * cut) % 29 if cut in (2, 4, 5, 6) else 0 for cut in range(11)]
            for number in range(classes)
        ],
    }
