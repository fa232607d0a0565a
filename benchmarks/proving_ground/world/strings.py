"""Edits of a line of words: replace one, take one out, swap the ends, repeat one. Category other.

Facts: which edit, the words, the place of the word concerned and the new word (0 where the edit
needs none). The level is the number of words: three, four, or five and six.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.proving_ground.world.family import Language
from benchmarks.proving_ground.world.law import worded
from benchmarks.proving_ground.world.words import SHORT

_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": (
        "The text is: {text}.",
        "Read this line: {text}.",
        "Start from: {text}.",
        "Edit this: {text}.",
        "Given the words: {text}.",
    ),
    "ja": (
        "文は次の通りです: {text}。",
        "次の行を読んでください: {text}。",
        "元の行: {text}。",
        "次を直します: {text}。",
        "言葉は次の通りです: {text}。",
    ),
}
_QUESTIONS: dict[Language, tuple[tuple[str, ...], ...]] = {
    "en": (
        ("Replace '{old}' by '{new}'.", "Change '{old}' to '{new}'.",
         "Write '{new}' in place of '{old}'.", "Put '{new}' where '{old}' is."),
        ("Remove '{old}'.", "Delete '{old}'.", "Take out '{old}'.", "Leave out '{old}'."),
        ("Swap the first and the last word.", "Exchange the first and the last word.",
         "Let the first and the last word change places.", "Switch the first and the last word."),
        ("Write '{old}' twice.", "Double '{old}'.", "Repeat '{old}' once.",
         "Say '{old}' two times."),
    ),
    "ja": (
        ("「{old}」を「{new}」に替えてください。", "「{old}」を「{new}」に変えてください。",
         "「{old}」の代わりに「{new}」と書いてください。",
         "「{old}」の所に「{new}」を置いてください。"),
        ("「{old}」を消してください。", "「{old}」を取り除いてください。",
         "「{old}」を抜いてください。", "「{old}」を省いてください。"),
        ("最初と最後の言葉を入れ替えてください。", "最初と最後の言葉を交換してください。",
         "最初の言葉と最後の言葉を逆にしてください。", "両端の言葉を入れ替えてください。"),
        ("「{old}」を二回書いてください。", "「{old}」を二つにしてください。",
         "「{old}」を一度くり返してください。", "「{old}」を二度書いてください。"),
    ),
}  # fmt: skip


class Strings:
    """See the module."""

    name, category = "strings", "other"
    openings, questions = len(_OPENINGS["en"]), 4

    def draw(self, numbers: random.Random, level: int) -> tuple[Any, ...]:
        length = 2 + level if level < 3 else numbers.randint(5, 6)
        *words, new = numbers.sample(range(len(SHORT["en"])), length + 1)
        kind, place = numbers.randrange(4), numbers.randrange(length)
        return kind, tuple(words), 0 if kind == 2 else place, 0 if kind else new

    def content(self, facts: tuple[Any, ...]) -> tuple[Any, ...]:
        return facts

    def ask(self, facts: tuple[Any, ...], language: Language, a: int, b: int) -> tuple[str, str]:
        kind, words, place, new = facts
        known = SHORT[language]
        gap = "" if language == "ja" else " "
        text = _OPENINGS[language][a] + gap + _QUESTIONS[language][kind][b]
        line = " ".join(known[word] for word in words)
        return text.format(text=line, old=known[words[place]], new=known[new]), ""

    def reference(self, facts: tuple[Any, ...], language: Language) -> str:
        kind, words, place, new = facts
        done = list(words)
        if kind == 0:
            done[place] = new
        elif kind == 1:
            del done[place]
        elif kind == 2:
            done[0], done[-1] = done[-1], done[0]
        else:
            done.insert(place, done[place])
        return " ".join(SHORT[language][word] for word in done)

    def answer(self, facts: tuple[Any, ...], language: Language, numbers: random.Random) -> str:
        kind, words, place, _ = facts
        steps = []
        if kind != 2:
            word = SHORT[language][words[place]]
            steps = [
                f"「{word}」は{place + 1}番目です"
                if language == "ja"
                else f"'{word}' is word {place + 1}"
            ]
        return worded(self.reference(facts, language), steps, language, numbers)
