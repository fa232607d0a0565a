"""The steps of a seed's walk in their order, and which agent and prompt each belongs to.

In: what people call an agent (`response`, or the step's own name `respond`). Out: one step, with
the prompt that a recipe gives it.
"""

from __future__ import annotations

from agents import rewriting
from graph.forks.errors import ForkRefused
from graph.recipe import Recipe

# In the order of the walk; a later round begins again with `rewrite`.
AGENT_OF_STEP = {
    "classify": "expansion",
    "expand": "expansion",
    "rewrite": "rewriting",
    "respond": "response",
    "select": "selection",
    "verify": "verification",
}
STEPS = tuple(AGENT_OF_STEP)
# What an agent's name means where it has two steps, or none other is meant.
_STEP_OF_AGENT = {agent: step for step, agent in AGENT_OF_STEP.items()}
# Steps that are done once for the whole seed, before there is any draft.
OF_SEED = ("classify", "expand")


def find_step(agent: str, prompt_name: str | None, recipe: Recipe) -> str:
    """The step that is meant by an agent's or a step's name.

    Args:
        agent: `expansion`, `rewriting`, …, or `classify`, `expand`, ….
        prompt_name: a prompt of that agent, which tells its two steps apart.
        recipe: whose prompts these are.

    Raises:
        ForkRefused: there is no such agent, or the recipe does without it.
    """
    step = agent if agent in AGENT_OF_STEP else _STEP_OF_AGENT.get(agent)
    if step is None:
        raise ForkRefused(
            f"There is no agent '{agent}'.",
            cause=f"The agents are {', '.join(_STEP_OF_AGENT)}; their steps {', '.join(STEPS)}.",
            solution="Give one of these.",
        )
    if agent == "expansion" and prompt_name == recipe.agents.expansion.classify_prompt:
        step = "classify"
    if not recipe.agents.role(AGENT_OF_STEP[step]).enabled:
        raise ForkRefused(
            f"The agent '{AGENT_OF_STEP[step]}' had no part in this sample.",
            cause=f"The recipe '{recipe.name}' says agents.{AGENT_OF_STEP[step]}.enabled: false.",
            solution="Begin at another agent.",
        )
    return step


def step_of_call(agent: str, prompt_name: str, recipe: Recipe) -> str | None:
    """The step in which a call was made; None for an agent that this program does not know."""
    if agent == "expansion" and prompt_name == recipe.agents.expansion.classify_prompt:
        return "classify"
    return _STEP_OF_AGENT.get(agent)


def prompt_of_step(step: str, recipe: Recipe, category: str | None) -> str:
    """The prompt that a recipe gives a step, for a draft of this category."""
    agents = recipe.agents
    return {
        "classify": agents.expansion.classify_prompt,
        "expand": agents.expansion.prompt,
        "rewrite": agents.rewriting.prompt,
        "respond": rewriting.response_prompt(agents.response, category or "other"),
        "select": agents.selection.prompt,
        "verify": agents.verification.prompt,
    }[step]


def prompts_of_step(step: str, recipe: Recipe) -> tuple[str, ...]:
    """Every prompt that a recipe gives a step, whatever the draft's category."""
    if not recipe.agents.role(AGENT_OF_STEP[step]).enabled:
        return ()
    if step == "respond":
        response = recipe.agents.response
        return tuple(dict.fromkeys((response.prompt, response.steps_prompt)))
    return (prompt_of_step(step, recipe, None),)
