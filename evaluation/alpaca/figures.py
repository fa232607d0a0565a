"""AlpacaEval 2's figures from preferences, computed by the `alpaca_eval` library.

In: one row per instruction with both outputs and the judge's preference. Out: win rate, standard
error, wins and draws; and the length-controlled win rate: what the regression predicts where both
outputs are equally long. Formulas and fit are the library's (arXiv 2404.04475); the difficulty
table is given, so that nothing is fetched here.
"""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.alpaca.difficulty import Difficulty
from evaluation.errors import DataMissing

_FEWEST = 10
_NONE = float("nan")
_NO_FIGURE: dict[str, float | None] = {
    "length_controlled_winrate": None,
    "lc_standard_error": None,
}


@dataclass(frozen=True, slots=True)
class Pair:
    """One instruction's outputs. `index` is its place in the baseline's file; `preference` lies
    between 1 (baseline) and 2 (model), None where the judge gave none."""

    index: int
    baseline: str
    output: str
    preference: float | None


def require_library() -> None:
    """Sees to it that figures can be computed, before anything is paid for.

    Raises:
        DataMissing: the library is not installed.
    """
    _module("alpaca_eval.metrics")


def win_rates(pairs: Sequence[Pair]) -> dict[str, float | int | None]:
    """`win_rate`, `standard_error`, `discrete_win_rate` in per cent, `n_wins`, `n_wins_base`,
    `n_draws`, `n_total`, and `avg_length` in characters (its fraction cut, as the leaderboard's).

    Raises:
        DataMissing: the library is not installed.
    """
    metrics = _module("alpaca_eval.metrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The library takes no empty list, and one without a preference for nothing.
        preferences = [_NONE if p.preference is None else p.preference for p in pairs] or [_NONE]
        found = metrics.get_winrate([{"preference": preference} for preference in preferences])
    counts = {name: int(found[name]) for name in ("n_wins", "n_wins_base", "n_draws", "n_total")}
    rates = {
        name: _number(found[name]) for name in ("win_rate", "standard_error", "discrete_win_rate")
    }
    length = sum(len(pair.output) for pair in pairs) // len(pairs) if pairs else None
    return {**rates, **counts, "avg_length": length}


def length_controlled(pairs: Sequence[Pair], difficulty: Difficulty) -> dict[str, float | None]:
    """`length_controlled_winrate` and `lc_standard_error`, in per cent; None where nothing can be
    fitted (fewer than ten preferences, all the same, or no weight that survives the penalty).

    Raises:
        DataMissing: an instruction has no difficulty, or the library is not installed.
    """
    told = [pair.preference for pair in pairs if pair.preference is not None]
    if len(told) < _FEWEST or len(set(told)) < 2:
        return dict(_NO_FIGURE)
    pandas, glm = _module("pandas"), _module("alpaca_eval.metrics.glm_winrate")
    name = "length_controlled_v1" if difficulty.gamed is not None else "length_controlled_noreg"
    info = glm.GLM_INFO[name]
    frame = pandas.DataFrame([_features(pair, difficulty) for pair in pairs])
    delta = pandas.Series([len(pair.baseline) - len(pair.output) for pair in pairs])
    spread = delta.std()
    frame["std_delta_len"] = delta / spread if spread else 0.0
    asked = frame[["instruction_difficulty", "not_gamed_baseline"]].copy()
    asked["std_delta_len"] = 0
    weight = None
    if difficulty.gamed is not None:
        frame = pandas.concat([pandas.DataFrame(difficulty.gamed), frame], ignore_index=True)
        own = frame["not_gamed_baseline"].astype(bool)
        frame["not_gamed_baseline"] = own
        # Half of lambda for each of the two gamed baselines, as the library has it.
        weight = own.astype(float) + info["regularize_to_baseline_lambda"] * (~own) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train, test = glm.make_dmatrix_for_model(frame, asked, formula=info["formula"])
        kept = train["preference"].notna()
        model = glm.fit_LogisticRegressionCV(
            train[kept],
            "preference",
            is_ytrue_proba=True,
            sample_weight=None if weight is None else weight[kept],
            **info["kwargs"],
        )
        if not model.coef_.any():
            # The penalty left nothing: 50 % for every model, which would say nothing of this one.
            return dict(_NO_FIGURE)
        predicted = pandas.Series(model.predict_proba(test)[:, 1])
    return {
        "length_controlled_winrate": _number(predicted.mean() * 100),
        "lc_standard_error": _number(predicted.sem() * 100),
    }


def _features(pair: Pair, difficulty: Difficulty) -> dict[str, Any]:
    preference = pair.preference
    return {
        "index": pair.index,
        "preference": None if preference is None else _between(preference),
        "instruction_difficulty": difficulty.of(pair.index),
        "not_gamed_baseline": True,
    }


def _between(preference: float) -> float:
    """0 to 1; the old code 0 for a draw counts as 1.5."""
    return (preference or 1.5) - 1.0


def _number(value: Any) -> float | None:
    number = float(value)
    return None if number != number else number


def _module(name: str) -> Any:
    # The library would read a `.env` file of whatever folder this is; keys come by name alone.
    os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise DataMissing(
            "The AlpacaEval library is not installed.",
            cause=f"Python module '{error.name}' is missing.",
            solution="Install the extra `eval`.",
            command="pip install -c constraints.txt -e '.[eval]'",
        ) from error
    logging.getLogger("alpaca_eval").setLevel(logging.WARNING)
    return module
