"""What people decided about held samples is carried out; what the gates decided is kept."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from factory import (
    MATHS,
    SEEDS,
    WRITING,
    assert_sound,
    corpus_of,
    one,
    rows,
    run,
    samples,
    simulated,
    write_recipe,
)

from storage.database import Database
from storage.review import decide
from storage.tables import Review, table_of, utcnow

ALWAYS = {"expansion": {"variants": 0}, "verification": {"human": {"when": "always"}}}


def reviewed(db: Path, sample: str, decision: str, note: str | None = None) -> None:
    database = Database.open(str(db))
    try:
        decide(database, sample, decision, "Mori", note)
    finally:
        database.close()


def edited(db: Path, sample: str, **edits: str) -> None:
    """An accepting decision that also corrects the text, as a review page would write it."""
    database = Database.open(str(db))
    row = {
        "id": uuid.uuid4().hex,
        "sample_id": sample,
        "decision": "edit",
        "reviewer": "Mori",
        "created_at": utcnow(),
        **edits,
    }
    with database.write() as connection:
        connection.execute(table_of(Review).insert(), row)
    database.close()


async def held(folder: Path, *seeds: dict[str, Any], **changes: Any) -> tuple[Path, Path]:
    """A recipe that has run and whose samples all wait for a person, and its database."""
    recipe = write_recipe(folder, seeds or [WRITING], **{"agents": ALWAYS, **changes})
    result = await run(recipe)
    assert result.status == "finished"
    assert {s["status"] for s in samples(corpus_of(recipe))} == {"held"}
    return recipe, corpus_of(recipe)


async def test_where_a_recipe_wants_a_person_every_sample_that_would_be_accepted_is_held(
    tmp_path: Path,
) -> None:
    recipe, db = await held(tmp_path, *SEEDS)
    assert {s["reason"] for s in samples(db)} == {"human_review"}
    assert all(s["response"] for s in samples(db))
    assert {s["status"] for s in rows(db, "SELECT status FROM seed")} == {"done"}
    assert_sound(db)
    again = await run(recipe)
    assert (again.progress.total, again.progress.figures.calls_made) == (0, 0)


async def test_a_person_can_be_wanted_for_some_categories_only(tmp_path: Path) -> None:
    verification = {"human": {"categories": ["math"]}}
    recipe = write_recipe(tmp_path, agents={"verification": verification})
    await run(recipe)
    ends = {(s["category"], s["status"], s["reason"]) for s in samples(corpus_of(recipe))}
    assert ends == {("math", "held", "human_review"), ("writing", "accepted", "verified")}


async def test_a_person_can_be_wanted_where_nothing_else_could_decide(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        [{**MATHS, "reference": "396"}, WRITING],
        agents={
            "expansion": {"variants": 0},
            "verification": {"teacher": "judge", "human": {"when": "unscored"}},
        },
        teachers={"judge": simulated(malformed_json=1.0)},
    )
    await run(recipe)
    db = corpus_of(recipe)
    maths, writing = samples(db)
    assert (maths["status"], maths["reason"]) == ("accepted", "verified")
    assert (writing["status"], writing["reason"]) == ("held", "unverified")
    reviewed(db, writing["id"], "accept")
    await run(recipe)
    assert [s["reason"] for s in samples(db)] == ["verified", "accepted_by_human"]
    assert_sound(db)


async def test_what_fails_verification_is_not_shown_to_anybody(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path, [MATHS], agents=ALWAYS, teachers={"local": simulated(wrong_math=1.0)}
    )
    await run(recipe)
    assert {s["reason"] for s in samples(corpus_of(recipe))} == {"verification_failed"}


async def test_the_next_run_accepts_what_a_person_accepted_without_asking_anybody(
    tmp_path: Path,
) -> None:
    recipe, db = await held(tmp_path, MATHS, WRITING)
    first, second = samples(db)
    reviewed(db, first["id"], "accept", "well explained")
    result = await run(recipe)
    assert (result.progress.total, result.progress.figures.calls_made) == (1, 0)
    accepted, still_held = samples(db)
    assert (accepted["status"], accepted["reason"]) == ("accepted", "accepted_by_human")
    assert accepted["response"] == first["response"]
    assert (still_held["status"], still_held["id"]) == ("held", second["id"])
    (verdict,) = rows(db, "SELECT * FROM verdict WHERE kind = 'human'")
    assert (verdict["sample_id"], verdict["label"]) == (first["id"], "pass")
    assert json.loads(verdict["evidence"])["reviewer"] == "Mori"
    assert json.loads(verdict["evidence"])["note"] == "well explained"
    assert one(db, "SELECT applied_at IS NOT NULL FROM review") == 1
    assert_sound(db)
    assert (await run(recipe)).progress.total == 0


async def test_the_next_run_rejects_what_a_person_rejected(tmp_path: Path) -> None:
    recipe, db = await held(tmp_path)
    (sample,) = samples(db)
    reviewed(db, sample["id"], "reject", "dull")
    await run(recipe)
    (sample,) = samples(db)
    assert (sample["status"], sample["reason"]) == ("rejected", "rejected_by_human")
    assert sample["detail"] == "dull"
    assert rows(db, "SELECT label FROM verdict WHERE kind = 'human'") == [{"label": "fail"}]
    assert_sound(db)


async def test_a_later_decision_takes_an_earlier_ones_place(tmp_path: Path) -> None:
    recipe, db = await held(tmp_path)
    (sample,) = samples(db)
    reviewed(db, sample["id"], "reject")
    reviewed(db, sample["id"], "accept")
    await run(recipe)
    assert [s["reason"] for s in samples(db)] == ["accepted_by_human"]


async def test_a_persons_corrections_are_what_is_accepted(tmp_path: Path) -> None:
    recipe, db = await held(tmp_path)
    (sample,) = samples(db)
    edited(db, sample["id"], edited_response="A better story.", edited_instruction="Tell one.")
    await run(recipe)
    (sample,) = samples(db)
    assert (sample["status"], sample["reason"]) == ("accepted", "accepted_by_human")
    assert (sample["instruction"], sample["response"]) == ("Tell one.", "A better story.")
    assert_sound(db)
    await run(recipe)
    assert [s["response"] for s in samples(db)] == ["A better story."]


@pytest.mark.parametrize("decision", ["accept", "reject"])
@pytest.mark.parametrize("carried_out", [False, True], ids=["waiting", "carried out"])
async def test_a_decision_about_one_response_does_not_hold_for_another(
    tmp_path: Path, decision: str, carried_out: bool
) -> None:
    recipe, db = await held(tmp_path, teachers={"other": simulated(seed=5)})
    (before,) = samples(db)
    reviewed(db, before["id"], decision)
    if carried_out:
        await run(recipe)
    await run(recipe, "agents.response.teacher=other")
    (after,) = samples(db)
    assert after["response"] != before["response"]
    assert (after["status"], after["reason"]) == ("held", "human_review")
    assert_sound(db)
    reviewed(db, after["id"], "accept")
    await run(recipe, "agents.response.teacher=other")
    assert [s["reason"] for s in samples(db)] == ["accepted_by_human"]
    assert_sound(db)


async def test_a_decision_that_no_longer_fits_does_not_make_its_seed_walk_again_and_again(
    tmp_path: Path,
) -> None:
    recipe, db = await held(tmp_path, teachers={"other": simulated(seed=5)})
    reviewed(db, samples(db)[0]["id"], "accept")
    swapped = "agents.response.teacher=other"
    assert (await run(recipe, swapped)).progress.total == 1
    assert (await run(recipe, swapped)).progress.total == 0
    assert [s["status"] for s in samples(db)] == ["held"]


async def test_a_decision_holds_where_only_later_steps_are_redone(tmp_path: Path) -> None:
    recipe, db = await held(tmp_path, teachers={"other": simulated(seed=5)})
    (before,) = samples(db)
    reviewed(db, before["id"], "accept")
    await run(recipe)
    again = await run(recipe, "agents.selection.teacher=other")
    assert again.progress.figures.calls_made == 1
    (after,) = samples(db)
    assert (after["reason"], after["response"]) == ("accepted_by_human", before["response"])


async def test_a_recipe_that_no_longer_wants_people_accepts_what_it_held(tmp_path: Path) -> None:
    recipe, db = await held(tmp_path)
    await run(recipe, "agents.verification.human.when=never")
    assert [(s["status"], s["reason"]) for s in samples(db)] == [("accepted", "verified")]
    assert_sound(db)


async def test_a_gates_decision_is_replayed_and_not_made_again(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        [MATHS, WRITING, MATHS, {**WRITING, "instruction": "Write about a quiet garden."}],
        agents={"expansion": {"variants": 0}},
        gates={"quotas": {"writing": 1}},
        run={"seeds_in_flight": 1},
    )
    await run(recipe)
    db = corpus_of(recipe)
    ends = [(s["status"], s["reason"]) for s in samples(db)]
    assert ends == [
        ("accepted", "verified"),
        ("accepted", "verified"),
        ("rejected", "duplicate"),
        ("rejected", "over_quota"),
    ]
    verdicts = "SELECT sample_id, name, label, evidence FROM verdict WHERE kind = 'gate'"
    before = rows(db, verdicts + " ORDER BY 1, 2")
    # Every seed walks again, in one wave, so that places and owners could fall otherwise.
    again = await run(recipe, "agents.selection.minimum.mean=0.5", "run.seeds_in_flight=8")
    assert again.progress.total == 2
    await run(recipe, "agents.rewriting.sampling.seed=3")
    assert rows(db, verdicts + " ORDER BY 1, 2") == before
    assert [(s["status"], s["reason"]) for s in samples(db)] == ends
    assert_sound(db)
