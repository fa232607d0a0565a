"""Writes the response to an instruction: a computation worked out, or a text that uses its words.

In: an `Ask` of kind text. Out: the answer's text, with a chain of thought in `<think>` where the
prompt asks for one, and the names of what was put in on purpose (`wrong_math`). Form follows the
category: code, SQL, lists, labels and JSON look like what they are.
"""

from __future__ import annotations

import re

import orjson

from common.hashing import fraction
from teachers.simulated.asks import Ask
from teachers.simulated.classification import guess_category
from teachers.simulated.draws import Draws
from teachers.simulated.language import key_words
from teachers.simulated.phrases import Phrases
from teachers.simulated.problems import find_problem
from teachers.simulated.rewriting import unframed
from teachers.simulated.settings import SimulatedSettings
from teachers.simulated.solving import attempt, solve
from teachers.simulated.translation import translate
from teachers.simulated.voices import phrases_for

_THOUGHTFUL = ("logic", "code", "sql", "planning")
_JSON = re.compile(r"\bJSON\b", re.IGNORECASE)
_LIST = re.compile(
    r"\b(?:list|suggest|ideas|brainstorm|ways to|tips|examples of)\b|"
    r"アイデア|挙げて|リスト|列挙|提案|点子|列举|列出|建议|创意",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(r"(?<![\d.])([2-9]|10)(?![\d.%])")
_IDENTIFIER = re.compile(r"\b([a-z][a-z_]{2,})\b\s*\(")
_COLUMN = re.compile(r"[(,]\s*([a-z][a-z_]{2,})\b")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")


_FUNCTIONS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(words, re.IGNORECASE), f"def {head}:\n    {body}")
    for words, head, body in (
        (r"palindrom|回文", "is_palindrome(text)", "return text == text[::-1]"),
        (r"revers|逆順|逆に|反转|倒序", "reverse(values)", "return values[::-1]"),
        (
            r"\bprime|素数|质数",
            "is_prime(number)",
            "return number > 1 and all(number % n for n in range(2, int(number**0.5) + 1))",
        ),
        (
            r"factorial|階乗|阶乘",
            "factorial(number)",
            "return 1 if number < 2 else number * factorial(number - 1)",
        ),
        (
            r"fibonacci|フィボナッチ|斐波那契",
            "fibonacci(count)",
            "values = [0, 1]\n    while len(values) < count:\n"
            "        values.append(values[-1] + values[-2])\n    return values[:count]",
        ),
        (
            r"\bsort|並べ替|ソート|排序",
            "sort_records(records, field)",
            "complete = [r for r in records if r.get(field) is not None]\n"
            "    return sorted(complete, key=lambda record: record[field])",
        ),
        (r"\bsum\b|\btotal|合計|求和|总和", "total(values)", "return sum(values)"),
        (
            r"\bmax|largest|最大",
            "largest(values)",
            "return max(values, default=None)",
        ),
        (
            "",
            "count_values(values)",
            "counts = {}\n    for value in values:\n"
            "        counts[value] = counts.get(value, 0) + 1\n    return counts",
        ),
    )
)


def respond(ask: Ask, settings: SimulatedSettings) -> tuple[str, tuple[str, ...]]:
    """The response, and the names of the faults in it."""
    phrases = phrases_for(ask.language)
    category = ask.category or guess_category(ask.instruction, ask.input)
    draws = Draws(settings.seed, "response", ask.key)
    if category == "math":
        return _maths(ask, settings, phrases)
    slots = _slots(ask, phrases)
    body = _body(ask, category, phrases, slots, draws)
    if ask.feedback and not _JSON.search(ask.instruction):
        body = f"{body}\n\n{phrases.feedback_note}"
    if ask.wants_thought and category in _THOUGHTFUL:
        thought = "\n".join(line.format(**slots) for line in phrases.thoughts)
        body = f"<think>\n{thought}\n</think>\n\n{body}"
    return body, ()


def _maths(ask: Ask, settings: SimulatedSettings, phrases: Phrases) -> tuple[str, tuple[str, ...]]:
    """Right or wrong by the instruction and by whether there is feedback, by nothing else."""
    problem = find_problem(ask.instruction)
    if problem is None and ask.input:
        problem = find_problem(f"{ask.instruction} {ask.input}")
    if problem is None:
        text = attempt(f"{ask.instruction} {ask.input}", phrases, ask.wants_thought)
        return text, ()
    drawn = fraction(settings.seed, "wrong_math", ask.instruction, bool(ask.feedback))
    wrong = drawn < settings.wrong_math
    slip = Draws(settings.seed, "slip", ask.instruction, bool(ask.feedback)) if wrong else None
    text = solve(problem, phrases, ask.wants_thought, slip)
    return text, ("wrong_math",) if wrong else ()


def _slots(ask: Ask, phrases: Phrases) -> dict[str, str]:
    """Three key words of the instruction (or of its input), and the instruction's gist."""
    instruction = unframed(ask.instruction, phrases)
    words = key_words(f"{instruction}\n{ask.input}", ask.language)
    words += [word for word in phrases.spare_words if word not in words]
    gist = " ".join(instruction.split())
    return {
        "k1": words[0],
        "k2": words[1],
        "k3": words[2],
        "gist": gist if len(gist) <= 160 else gist[:159] + "…",
    }


def _body(ask: Ask, category: str, phrases: Phrases, slots: dict[str, str], draws: Draws) -> str:
    if _JSON.search(ask.instruction) and category not in ("translation", "code", "sql"):
        return _json(ask, category, slots)
    if category == "code":
        return _code(ask, phrases, slots)
    if category == "sql":
        return _sql(ask, phrases, slots, draws)
    if category == "summarization":
        return _summary(ask, phrases, slots)
    if category == "translation":
        return translate(ask, phrases.bodies["translation"][0].format(**slots))
    if category == "brainstorming" or (category != "writing" and _LIST.search(ask.instruction)):
        return _list(ask, phrases, slots, draws)
    text = draws.choice(phrases.bodies[category]).format(
        label=draws.choice(phrases.labels), **slots
    )
    if category in ("qa", "other"):
        opening, closing = draws.choice(phrases.openings), draws.choice(phrases.closings)
        text = phrases.joiner.join((opening.format(**slots), text, closing.format(**slots)))
    # Only the first letter: key words in the middle of a sentence keep their form.
    return text[:1].upper() + text[1:]


def _json(ask: Ask, category: str, slots: dict[str, str]) -> str:
    value = {
        "task": category,
        "language": ask.language,
        "subject": slots["k1"],
        "items": [
            {"name": slots["k1"], "relevance": 3},
            {"name": slots["k2"], "relevance": 2},
            {"name": slots["k3"], "relevance": 1},
        ],
        "note": slots["gist"],
    }
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _code(ask: Ask, phrases: Phrases, slots: dict[str, str]) -> str:
    code = next(code for pattern, code in _FUNCTIONS if pattern.search(ask.instruction))
    return f"```python\n{code}\n```\n\n{phrases.bodies['code'][0].format(**slots)}"


def _sql(ask: Ask, phrases: Phrases, slots: dict[str, str], draws: Draws) -> str:
    source = f"{ask.instruction}\n{ask.input}"
    table = _IDENTIFIER.search(source)
    columns = [c for c in _COLUMN.findall(source) if c not in ("id", "name", "created_at")]
    column = columns[0] if columns else "category"
    query = (
        f"SELECT {column}, COUNT(*) AS total\n"
        f"FROM {table.group(1) if table else 'records'}\n"
        f"GROUP BY {column}\n"
        f"ORDER BY total DESC" + draws.choice(("", "\nLIMIT 10")) + ";"
    )
    return f"```sql\n{query}\n```\n\n{phrases.bodies['sql'][0].format(**slots)}"


def _summary(ask: Ask, phrases: Phrases, slots: dict[str, str]) -> str:
    """The first two sentences of the text, which stands in the input or behind a colon."""
    source = ask.input
    if not source:
        parts = re.split(r"[:：]\s*|してください。|まとめてください。", ask.instruction, maxsplit=1)
        source = parts[-1]
    sentences = [s.strip() for s in _SENTENCE_END.split(source.strip()) if s and s.strip()]
    lead = phrases.joiner.join(sentences[:2])[:400]
    return phrases.joiner.join((lead, phrases.bodies["summarization"][0].format(**slots)))


def _list(ask: Ask, phrases: Phrases, slots: dict[str, str], draws: Draws) -> str:
    asked = _HOW_MANY.search(ask.instruction)
    items = draws.sample(phrases.list_items, int(asked.group(1)) if asked else 5)
    lines = [f"{n}. {item.format(**slots)}" for n, item in enumerate(items, start=1)]
    return "\n".join((draws.choice(phrases.openings).format(**slots), "", *lines))
