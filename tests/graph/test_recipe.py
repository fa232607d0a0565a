"""Recipes: what may stand in one, what an error says, and how `--set` and paths are meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from factory import merged

from common.errors import StillhouseError
from common.recipes import RecipeError
from graph.recipe import Recipe, load_recipe
from teachers.config import RecordedTeacher

PLAIN: dict[str, Any] = {
    "name": "plain",
    "seeds": ["seeds.jsonl"],
    "teacher": "local",
    "teachers": {
        "local": {"kind": "simulated"},
        "api": {"kind": "openai", "base_url": "https://api.example/v1", "model": "m"},
        "big": {"kind": "vllm", "base_url": "http://127.0.0.1:8000/v1", "model": "m"},
        "tape": {"kind": "recorded", "path": "tape.jsonl", "model": "m"},
    },
}


def written(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    path = folder / "recipe.yaml"
    text = yaml.safe_dump(merged(PLAIN, changes or {}), allow_unicode=True, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, *overrides: str, **changes: Any) -> Recipe:
    return load_recipe(written(folder, changes), overrides)


def refused(folder: Path, *overrides: str, **changes: Any) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        loaded(folder, *overrides, **changes)
    return caught.value


def nested(path: str, value: Any) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("teecher", "teacher"),
        ("agents.expantion", "expansion"),
        ("agents.expansion.variant", "variants"),
        ("agents.rewriting.promt", "prompt"),
        ("agents.response.chain_of_thougt", "chain_of_thought"),
        ("agents.response.sampling.temprature", "temperature"),
        ("agents.selection.minimum.helpfullness", "helpfulness"),
        ("agents.verification.max_round", "max_rounds"),
        ("agents.verification.length.minimum", None),
        ("agents.verification.human.category", "categories"),
        ("gates.duplicate", "duplicates"),
        ("budget.token", "tokens"),
        ("run.seed_in_flight", "seeds_in_flight"),
        ("teachers.local.simulaton", "simulation"),
        ("teachers.local.simulation.wrong_maths", "wrong_math"),
        ("teachers.local.limits.max_concurency", "max_concurrency"),
        ("teachers.local.retry.attempt", "attempts"),
        ("teachers.local.prices.usd_per_million_prompt_token", "usd_per_million_prompt_tokens"),
        ("teachers.local.terms.allow_training", "allows_training"),
        ("teachers.api.api_key", "api_key_env"),
        ("teachers.api.base_uri", "base_url"),
        ("teachers.big.servr", "server"),
        ("teachers.big.return_token_id", "return_token_ids"),
        ("teachers.tape.prompt_feld", "prompt_field"),
        ("teachers.tape.retry.attempt", "attempts"),
    ],
)
def test_an_unknown_key_at_any_depth_names_its_place_and_the_nearest_known_key(
    tmp_path: Path, path: str, nearest: str | None
) -> None:
    error = refused(tmp_path, **nested(path, 1))
    assert error.what.endswith(f"has an unknown key: {path}.")
    assert f"'{path.rpartition('.')[2]}'" in error.cause
    if nearest is not None:
        assert f"Did you mean '{nearest}'?" in error.solution
    assert "Known here: " in error.solution


def test_an_unknown_key_of_a_managed_vllm_server_names_the_nearest_of_that_server(
    tmp_path: Path,
) -> None:
    server = {"model": "Qwen/Qwen2-0.5B", "max_model_length": 512}
    error = refused(tmp_path, teachers={"own": {"kind": "vllm", "server": server}})
    assert "teachers.own.server.max_model_length" in error.what
    assert "Did you mean 'max_model_len'?" in error.solution


@pytest.mark.parametrize(
    ("source", "place", "nearest"),
    [
        ({"path": "seeds.jsonl", "langage": "en"}, "seeds.0.langage", "language"),
        ({"pth": "seeds.jsonl"}, "seeds.0.pth", "path"),
    ],
)
def test_an_unknown_key_of_a_seed_source_names_the_nearest(
    tmp_path: Path, source: dict[str, str], place: str, nearest: str
) -> None:
    error = refused(tmp_path, seeds=[source])
    assert place in error.what
    assert f"Did you mean '{nearest}'?" in error.solution


def test_only_what_is_known_at_that_place_is_listed(tmp_path: Path) -> None:
    error = refused(tmp_path, teachers={"tape": {"base_url": "http://127.0.0.1/v1"}})
    known = error.solution.partition("Known here: ")[2]
    assert "response_field" in known
    assert "simulation" not in known
    assert "base_url" not in known


def test_an_unknown_category_under_quotas_lists_the_categories(tmp_path: Path) -> None:
    error = refused(tmp_path, gates={"quotas": {"maths": 3}})
    assert "gates.quotas.maths" in error.what
    assert "'math'" in error.cause


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("name", "two words", "match pattern"),
        ("agents.expansion.variants", -1, "greater than or equal to 0"),
        ("agents.verification.max_rounds", 99, "less than or equal to 10"),
        ("agents.response.enabled", False, "True"),
        ("agents.selection.on_unscored", "keep", "'accept', 'reject' or 'hold'"),
        ("agents.response.sampling.temperature", "hot", "valid number"),
        ("teachers.local.simulation.wrong_math", 1.5, "less than or equal to 1"),
        ("teachers.local.kind", "simulator", "simulated"),
        ("teachers.api.base_url", "api.example/v1", "http://"),
        ("budget.calls", 0, "greater than 0"),
        ("run.seeds_in_flight", 0, "greater than or equal to 1"),
        ("agents", None, "dictionary"),
        ("seeds", 7, "list"),
        ("teachers", [1], "dictionary"),
    ],
)
def test_a_bad_value_says_where_it_stands_and_what_is_wrong_with_it(
    tmp_path: Path, path: str, value: Any, said: str
) -> None:
    error = refused(tmp_path, **nested(path, value))
    assert path.removesuffix(".kind") in error.what
    assert said in error.cause


def test_further_faults_are_counted(tmp_path: Path) -> None:
    error = refused(tmp_path, budget={"calls": 0, "tokens": 0}, run={"seeds_in_flight": 0})
    assert "(2 more after this one)" in error.what


def test_a_recipe_without_teachers_says_which_key_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: bare\n")
    with pytest.raises(RecipeError, match="teachers") as caught:
        load_recipe(path)
    assert "required" in caught.value.cause


@pytest.mark.parametrize("role", ["expansion", "rewriting", "selection", "verification"])
def test_a_role_without_a_teacher_is_refused_and_says_what_to_write(
    tmp_path: Path, role: str
) -> None:
    others = {
        other: {"teacher": "local"}
        for other in ("expansion", "rewriting", "response", "selection", "verification")
        if other != role
    }
    error = refused(tmp_path, teacher=None, agents=others)
    assert f"role '{role}' has no teacher" in error.cause
    assert f"agents.{role}.teacher" in str(error)
    assert "api, big, local, tape" in str(error)


def test_a_disabled_role_needs_no_teacher(tmp_path: Path) -> None:
    others = {
        "expansion": {"enabled": False},
        "rewriting": {"enabled": False},
        "response": {"teacher": "local"},
        "selection": {"enabled": False},
        "verification": {"enabled": False},
    }
    recipe = loaded(tmp_path, teacher=None, agents=others)
    assert recipe.used_teachers() == ["local"]


def test_a_role_that_names_an_unknown_teacher_lists_the_known_ones(tmp_path: Path) -> None:
    error = refused(tmp_path, "agents.verification.teacher=juge")
    assert "'verification' names teacher 'juge'" in error.cause
    assert "local" in error.cause


def test_one_set_swaps_the_teacher_of_every_role(tmp_path: Path) -> None:
    assert loaded(tmp_path).used_teachers() == ["local"]
    assert loaded(tmp_path, "teacher=api").used_teachers() == ["api"]


def test_one_set_swaps_the_teacher_of_one_role(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "agents.verification.teacher=api")
    assert recipe.teacher_of("verification") == "api"
    assert recipe.teacher_of("response") == "local"
    assert recipe.used_teachers() == ["local", "api"]


def test_set_makes_sections_that_the_file_does_not_have(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "agents.response.sampling.temperature=0.5", "budget.calls=7")
    assert recipe.agents.response.sampling.temperature == 0.5
    assert recipe.budget.calls == 7


def test_set_fills_a_section_that_the_file_leaves_empty(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "agents.expansion.variants=3", agents=None)
    assert recipe.agents.expansion.variants == 3


def test_the_last_of_several_sets_of_one_key_counts(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "agents.expansion.variants=3", "agents.expansion.variants=5")
    assert recipe.agents.expansion.variants == 5


def test_set_values_are_yaml(tmp_path: Path) -> None:
    recipe = loaded(
        tmp_path,
        "gates.quotas={math: 3, code: 1}",
        "agents.response.chain_of_thought=[math]",
        "gates.duplicates=false",
        "description=a: b = c".replace("a: b", "a b"),
        "teachers.local.family=",
    )
    assert recipe.gates.quotas == {"math": 3, "code": 1}
    assert recipe.agents.response.chain_of_thought == ("math",)
    assert recipe.gates.duplicates is False
    assert recipe.description == "a b = c"
    assert recipe.teachers["local"].family is None


@pytest.mark.parametrize("override", ["teacher", "=api", " = api", ""])
def test_set_without_a_key_and_an_equals_sign_shows_how_it_is_written(
    tmp_path: Path, override: str
) -> None:
    error = refused(tmp_path, override)
    assert "key=value" in error.what
    assert "--set" in error.solution


def test_set_that_leads_into_a_value_says_so(tmp_path: Path) -> None:
    error = refused(tmp_path, "teacher.name=api")
    assert "'teacher'" in error.what
    assert "'local'" in error.cause


@pytest.mark.parametrize("value", ["[1", "{a: b", "'open", "*nowhere"])
def test_set_with_a_value_that_is_no_yaml_is_refused(tmp_path: Path, value: str) -> None:
    error = refused(tmp_path, f"gates.quotas={value}")
    assert f"gates.quotas={value}" in error.what
    assert error.cause and error.solution


def test_set_of_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    error = refused(tmp_path, "agents.verification.techer=api")
    assert "agents.verification.techer" in error.what
    assert "Did you mean 'teacher'?" in error.solution


def test_paths_are_meant_from_the_recipes_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = tmp_path / "recipes"
    (folder / "model").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    recipe = loaded(
        folder,
        seeds=[
            "a.jsonl",
            {"path": "sub/b.csv", "language": "ja"},
            "/absolute/c.json",
            "hf:owner/name",
        ],
        teachers={
            "own": {"kind": "vllm", "server": {"model": "model"}},
            "hub": {"kind": "vllm", "server": {"model": "Qwen/Qwen2-0.5B"}},
        },
    )
    assert [seed.path for seed in recipe.seeds] == [
        str(folder / "a.jsonl"),
        str(folder / "sub/b.csv"),
        "/absolute/c.json",
        "hf:owner/name",
    ]
    assert recipe.seeds[1].language == "ja"
    taped = [t.path for t in recipe.teachers.values() if isinstance(t, RecordedTeacher)]
    assert taped == [str(folder / "tape.jsonl")]
    assert recipe.teachers["own"].model_name.endswith("model")
    own, hub = (recipe.model_dump()["teachers"][name]["server"] for name in ("own", "hub"))
    assert own["model"] == str(folder / "model")
    assert hub["model"] == "Qwen/Qwen2-0.5B"


def test_seeds_of_the_command_line_replace_the_recipes_and_are_meant_from_here(
    tmp_path: Path,
) -> None:
    recipe = load_recipe(written(tmp_path), seeds=["mine.jsonl"])
    assert [seed.path for seed in recipe.seeds] == ["mine.jsonl"]


def test_a_single_source_needs_no_list(tmp_path: Path) -> None:
    assert loaded(tmp_path, seeds="a.jsonl").seeds[0].path == str(tmp_path / "a.jsonl")
    assert loaded(tmp_path, seeds={"path": "b.csv"}).seeds[0].path == str(tmp_path / "b.csv")


def test_a_folder_stands_for_its_recipe_yaml(tmp_path: Path) -> None:
    written(tmp_path)
    assert load_recipe(tmp_path).name == "plain"


def test_a_missing_recipe_names_the_file_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path)
    assert str(tmp_path / "recipe.yaml") in caught.value.cause
    assert caught.value.command is not None
    with pytest.raises(RecipeError, match=r"nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["name: [1", "a: b: c", "\tname: x", "name: \x00"])
def test_invalid_yaml_is_refused_with_its_position(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match="not valid YAML") as caught:
        load_recipe(path)
    assert "line 1" in caught.value.cause or "position" in caught.value.cause


def test_bytes_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes("name: é".encode("latin-1"))
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(path) in caught.value.what


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "7"])
def test_a_file_without_settings_says_how_to_begin(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match="holds no settings") as caught:
        load_recipe(path)
    assert "teachers:" in caught.value.solution


@pytest.mark.parametrize("cap", [{"tokens": 1000}, {"usd": 1.0}])
def test_a_cap_on_tokens_or_dollars_needs_bounded_answers(
    tmp_path: Path, cap: dict[str, Any]
) -> None:
    error = refused(tmp_path, budget=cap)
    assert "agents.expansion.sampling.max_tokens" in str(error)
    bounded = {"sampling": {"max_tokens": 100}}
    roles = ("expansion", "rewriting", "response", "selection", "verification")
    assert loaded(tmp_path, budget=cap, agents=dict.fromkeys(roles, bounded)).budget
    assert loaded(tmp_path, budget={"calls": 5}).budget.calls == 5


def test_the_default_length_of_an_answer_does_not_bound_it_for_one_role_alone(
    tmp_path: Path,
) -> None:
    bounded = {"sampling": {"max_tokens": 100}}
    agents = dict.fromkeys(("expansion", "rewriting", "response", "selection"), bounded)
    error = refused(tmp_path, budget={"tokens": 1000}, agents=agents)
    assert "agents.verification.sampling.max_tokens" in str(error)


SECRET = "sk-0123456789abcdefSECRET"


@pytest.mark.parametrize(
    "teacher",
    [
        {"kind": "openai", "base_url": f"https://me:{SECRET}@api.example/v1", "model": "m"},
        {"kind": "openai", "base_url": f"https://api.example/v1?api_key={SECRET}", "model": "m"},
        {"kind": "openai", "base_url": "https://a/v1", "model": "m", "api_key": SECRET},
        {"kind": "openai", "base_url": "https://a/v1", "model": "m", "api_key_env": SECRET},
        {"kind": "vllm", "base_url": f"http://me:{SECRET}@a/v1", "model": "m"},
        {"kind": "vllm", "base_url": "http://a/v1", "model": "m", "api_key_env": SECRET},
        {"kind": "vllm", "server": {"model": "a/b", "env": {"HF_TOKEN": SECRET}}},
        {"kind": "simulated", "base_url": f"http://me:{SECRET}@a/v1"},
        {
            "kind": "openai",
            "base_url": "https://a/v1",
            "model": "m",
            "extra_body": {"api_key": SECRET},
        },
        {
            "kind": "openai",
            "base_url": "https://a/v1",
            "model": "m",
            "extra_body": {"options": {"Authorization": f"Bearer {SECRET}"}},
        },
    ],
)
def test_no_secret_can_stand_in_a_recipe_and_the_refusal_does_not_repeat_it(
    tmp_path: Path, teacher: dict[str, Any]
) -> None:
    error = refused(tmp_path, teachers={"remote": teacher})
    assert "remote" in error.what
    assert SECRET not in str(error)


def test_a_role_that_has_no_teacher_does_not_repeat_the_whole_recipe(tmp_path: Path) -> None:
    error = refused(tmp_path, teacher=None)
    assert "kind" not in str(error)


def test_what_the_books_keep_of_a_recipe_reads_back_as_the_same_recipe(tmp_path: Path) -> None:
    recipe = loaded(
        tmp_path,
        "agents.response.sampling.temperature=0.5",
        seeds=["a.jsonl", {"path": "b.csv", "fields": {"instruction": "問い"}}],
        gates={"quotas": {"math": 3}},
        description="日本語",
        teachers={"local": {"terms": {"allows_training": True}}},
    )
    again = Recipe.model_validate(yaml.safe_load(recipe.text()))
    assert again == recipe
    assert again.text() == recipe.text()
    assert again.hash() == recipe.hash()
    assert "日本語" in recipe.text()


def test_a_recipes_hash_depends_on_its_settings_alone(tmp_path: Path) -> None:
    plain = loaded(tmp_path)
    (tmp_path / "recipe.yaml").write_text(
        "# a comment\n" + (tmp_path / "recipe.yaml").read_text(), encoding="utf-8"
    )
    assert load_recipe(tmp_path).hash() == plain.hash()
    assert loaded(tmp_path, "gates.language=true").hash() == plain.hash()
    assert loaded(tmp_path, "gates.language=false").hash() != plain.hash()


def test_every_recipe_of_the_checkout_can_be_loaded() -> None:
    folder = Path(__file__).resolve().parents[2] / "recipes"
    found = [
        path for path in sorted(folder.glob("*/recipe.yaml")) if "\nseeds:" in path.read_text()
    ]
    assert found
    for path in found:
        assert load_recipe(path).name


def test_a_recipe_error_is_one_that_the_command_line_shows() -> None:
    assert issubclass(RecipeError, StillhouseError)
