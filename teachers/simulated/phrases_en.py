"""What a simulated teacher says in English. Data only; `phrases.py` explains the slots."""

from __future__ import annotations

import re

from teachers.simulated.phrases import MathsWords, Phrases

_TASKS = {
    "math": (
        "What is {n} × {m} + {k}?",
        "Calculate ({n} + {m}) × {k}.",
        "What is {p}% of {n}00?",
        "Work out {n}{k} - {m} × {k}.",
    ),
    "logic": (
        "Every {topic} club member owns a bicycle, and everyone who owns a bicycle knows about "
        "{keyword}. Does every {topic} club member know about {keyword}? Explain your reasoning.",
        "Three friends like {topic}, {other} and {keyword}, one each. Ana does not like {topic}, "
        "and "
        "Ben likes {other}. Who likes what? Show how you know.",
    ),
    "code": (
        "Write a Python function that counts how often each {topic} entry about {keyword} occurs "
        "in "
        "a list, and explain how it works.",
        "Write a Python function that sorts {topic} records by their {keyword} field and drops "
        "those "
        "that lack it.",
    ),
    "sql": (
        "A register of {topic} and {keyword} has the table {topic_id}(id, name, {keyword_id}, "
        "created_at). Write an SQL query that counts the rows per {keyword_id}.",
        "Write an SQL query over {topic_id}(id, {keyword_id}, amount), which records spending on "
        "{topic} and {keyword}, that returns the {k} largest amounts with their {keyword_id}.",
    ),
    "planning": (
        "Make a {k}-day plan for {audience} who want to learn about {topic}, with time for "
        "{keyword}.",
        "Plan an afternoon about {topic} for {audience}; include a short activity on {keyword}.",
    ),
    "writing": (
        "Write a short story about {topic} in which {keyword} changes everything.",
        "Write a friendly letter to {audience} that explains why {topic} and {keyword} matter to "
        "you.",
    ),
    "summarization": (
        "Summarise the following text about {topic} and {keyword} in one sentence: {passage}",
        "Give the main point of this paragraph for {audience} interested in {keyword}: {passage}",
    ),
    "translation": (
        'Translate this sentence about {topic} into French: "{fact} It also concerns {keyword}."',
        'Translate into German: "{fact} For {audience}, {keyword} comes first."',
    ),
    "classification": (
        'Classify the tone of this note on {topic} as positive, negative or neutral: "{fact} '
        'The part on {keyword} was better than expected."',
        'Which subject does this sentence belong to, {topic} or {other}? "{fact} See {keyword}."',
    ),
    "extraction": (
        "Extract every noun that names a thing from this text on {topic} and {keyword}: {passage}",
        "Extract the people and the subjects mentioned here: {audience} met to discuss {topic}, "
        "{other} and {keyword}.",
    ),
    "qa": (
        "Why does {topic} matter to {audience}, and what has {keyword} to do with it?",
        "How are {topic} and {keyword} connected?",
    ),
    "brainstorming": (
        "Suggest {k} ideas that bring {topic} and {keyword} together for {audience}.",
        "Brainstorm ways in which {audience} could learn about {topic} by way of {keyword}.",
    ),
    "chat": (
        "I spent the whole weekend on {topic} and thought of {keyword} all the time. How about "
        "you?",
        "Hello! My neighbours are {audience} and talk only of {topic} and {keyword}. Any advice?",
    ),
    "other": (
        "Describe a scene in which {audience} come across {topic} and {keyword}.",
        "Compare {topic} with {keyword} for {audience}.",
    ),
}

_BODIES = {
    "logic": (
        "The statements about {k1} form a chain: what holds for {k1} carries over to {k2}, and "
        "what "
        "holds for {k2} carries over to {k3}. No statement breaks that chain, so the conclusion "
        "follows from them alone. To be sure, assume the opposite: then at least one statement "
        "about {k2} would have to be false, although all of them were given as true. The "
        "assumption "
        "leads to a contradiction, and the conclusion stands.",
    ),
    "planning": (
        "1. Preparation: write down what {k1} has to achieve and who takes part.\n"
        "2. First stage: begin with {k2}, because the later stages depend on it; leave an hour in "
        "reserve.\n3. Second stage: turn to {k3}, check the result against the aim, and note "
        "what is "
        "missing.\n4. Close: review {k1} together, settle the open points, and fix a date for the "
        "next look.\nEach stage has one person responsible, and nothing starts before the stage in "
        "front of it is done.",
    ),
    "writing": (
        "The morning began with {k1}, and nobody expected that {k2} would decide the day. At first "
        "there were only small signs: a note on the table, a door left open, a voice that spoke of "
        "{k3}. Then everything moved at once. Those who had laughed grew quiet, and those who had "
        "been quiet found the right words. In the evening they sat together and understood that "
        "{k1} had never been the difficult part; listening to each other was.",
        "Dear reader, let me tell you about {k1}. It started as a plain idea and grew because {k2} "
        "gave it a reason. There were setbacks, and one of them, to do with {k3}, almost ended it. "
        "What kept it alive was patience: a little work every day, honest words when something "
        "went "
        "wrong, and some luck. I hope that this account helps you to see {k2} with fresh eyes and "
        "to begin something of your own.",
    ),
    "classification": (
        "Label: {label}\n\nReason: the decisive words are {k1} and {k2}. They express the "
        "speaker's "
        "view directly, while {k3} only gives the setting and would fit any label. Nothing in the "
        "text points the other way, so a second label is not needed; if the passage on {k1} were "
        "left out, the decision would be less certain.",
    ),
    "extraction": (
        "The text names the following items:\n- {k1}\n- {k2}\n- {k3}\n\nThey are given in the "
        "order "
        "in which they appear. Words that only describe or connect these items were left out, and "
        "an item that occurs twice is listed once. If you also need the place of each item in the "
        "text, the first one, {k1}, stands at the beginning.",
    ),
    "qa": (
        "{k1} is best understood by looking at {k2} first. The two act on each other: when {k2} "
        "changes, {k1} follows, and the effect becomes visible in {k3}. A common example is "
        "everyday "
        "practice, where a small change in {k2} soon shows what {k1} needs. The main point is that "
        "{k1} is no isolated fact; it belongs to a wider picture in which {k3} has its own place.",
        "In short, {k1} depends on {k2}. There are three reasons. The conditions for {k1} are "
        "set by "
        "{k2} from the start. Next, {k3} limits how far things can go, so a balance is needed. And "
        "experience shows that people who attend to {k2} early have fewer difficulties later. "
        "Where "
        "the conditions differ, the answer can differ too, but this order of reasons remains.",
    ),
    "chat": (
        "That sounds like something worth talking about! When I hear {k1}, I think of {k2} first, "
        "and then of how differently people take it. Some find it tiring, others could go on for "
        "hours. I would take it slowly, keep what is fun about {k3}, and let the rest go. How did "
        "it begin for you, and what would you like to try next?",
    ),
    "other": (
        "Taken together, {k1} and {k2} give a clear picture. On the one hand {k1} sets the frame "
        "and "
        "says what is possible; on the other hand {k2} decides what is actually done. Between them "
        "stands {k3}, which is easily overlooked. A good result keeps all three in view: it begins "
        "with {k1}, gives {k2} enough room, and comes back to {k3} before anything is settled.",
    ),
    "code": (
        "The function takes what it needs as an argument, leaves it unchanged and returns the "
        "result, so it can be used and tested on its own. An empty input is no special case for "
        "the caller. To use it for {k1}, pass the values in the order that {k2} gives them; for "
        "other kinds of {k3}, only the one line that computes the result has to change.",
    ),
    "sql": (
        "The query groups the rows, counts each group and puts the largest first. Rows without a "
        "value form a group of their own; add a WHERE clause to leave them out. An index on the "
        "grouped column keeps it fast when the table on {k1} grows.",
    ),
    "summarization": (
        "In short, the text speaks about {k1} and sets it beside {k2}. Its main point is that {k3} "
        "matters for both, and the details it gives serve to support this point.",
    ),
    "translation": (
        "The wording stays close to the source. {k1} and {k2} keep their sense, the tone remains "
        "neutral, and nothing was added or left out.",
    ),
}

ENGLISH = Phrases(
    language="en",
    topics=(
        "gardening",
        "astronomy",
        "bread baking",
        "city planning",
        "bird watching",
        "chess",
        "recycling",
        "railways",
        "river ecology",
        "photography",
        "folk music",
        "sleep",
        "volcanoes",
        "school libraries",
        "solar power",
        "pottery",
        "marathon training",
        "bee keeping",
        "map making",
        "public parks",
        "coffee",
        "weather forecasts",
        "robotics",
        "the history of paper",
        "swimming",
        "languages",
        "bicycle repair",
        "museums",
        "cheese",
        "home budgets",
        "coral reefs",
        "theatre",
    ),
    audiences=(
        "beginners",
        "schoolchildren",
        "a group of nurses",
        "retired engineers",
        "young parents",
        "new colleagues",
        "a village council",
        "exchange students",
        "shop owners",
        "curious tourists",
        "first-year students",
        "volunteers",
        "amateur musicians",
        "night-shift workers",
    ),
    facts=(
        "Many people discover {topic} late in life and stay with it.",
        "A small group has changed how we think about {topic}.",
        "The cost of {topic} has fallen over the last ten years.",
        "Nobody expected {topic} to draw such crowds.",
        "Good tools make {topic} easier, but patience matters more.",
        "The town has decided to spend more on {topic}.",
        "Critics say that {topic} takes too much time.",
        "A new book explains {topic} without technical words.",
    ),
    spare_words=("the aim", "the context", "the details"),
    tasks=_TASKS,
    rewordings=(
        (re.compile(r"^What is ([^?.\n]+)\?$"), r"Find out what \1 is."),
        (re.compile(r"^(?:Calculate|Compute)\b"), "Work out"),
        (re.compile(r"^Write\b"), "Compose"),
        (re.compile(r"^(?:List|Name)\b"), "Give a list of"),
        (re.compile(r"^(?:Explain|Describe)\b"), "Give an account of"),
        (re.compile(r"^(?:Suggest|Propose)\b"), "Come up with"),
    ),
    wrappers=(
        ("Please help with the following: ", ""),
        ("Here is a task for you. ", ""),
        ("I would like an answer to this: ", ""),
        ("Could you take care of this request? ", ""),
        ("Work carefully on the following. ", ""),
        ("", " Please be clear and complete."),
        ("", " Make sure that the answer can stand on its own."),
        ("", " Thank you in advance."),
    ),
    refusals=(
        "I'm sorry, but I can't help with that request.",
        "I'm sorry, but I am unable to assist with this.",
    ),
    maths=MathsWords(
        intro="We have to find the value of {expression}.",
        numbers="The problem gives these quantities: {numbers}.",
        step="Step {n}: {step}",
        check="Checking the order of operations once more: multiplication and division come before "
        "addition and subtraction, and parentheses before both, so the result is {value}.",
        result="Worked out step by step, {expression} comes to {value}.",
        final="Final answer: {value}",
    ),
    thoughts=(
        "First, what is asked? The task is: {gist}",
        "The parts that matter are {k1} and {k2}; {k3} sets the limits.",
        "I begin with {k1}, because {k2} depends on it, and then check {k3}.",
        "Before answering I go back to the question: nothing about {k1} is left open.",
    ),
    openings=(
        "Here is an answer that keeps to the question.",
        "Let us look at {k1} and {k2} one after the other.",
        "This concerns {k1} above all.",
        "A good way into this is {k1}.",
    ),
    closings=(
        "That covers what was asked about {k1}.",
        "With this in mind, {k2} should no longer be a problem.",
        "If one thing is to be remembered, let it be {k1}.",
        "The rest depends on how much weight you give to {k3}.",
    ),
    bodies=_BODIES,
    list_items=(
        "Start with {k1}: keep it small and look at the result the same day.",
        "Use {k2} as the theme and let each person bring one example.",
        "Combine {k1} with {k3}, so that both become easier to remember.",
        "Ask someone experienced in {k2} for a short visit.",
        "Turn {k3} into a friendly contest with a modest prize.",
        "Keep a diary about {k1} and read from it once a week.",
        "Draw a picture or a chart of {k2} and hang it where all can see it.",
        "Exchange notes on {k3} with another group.",
        "Set one evening aside for {k1} without any screens.",
        "Collect questions about {k2} in a box and answer one a day.",
    ),
    labels=("positive", "neutral", "negative"),
    joiner=" ",
    feedback_note="This version takes the remarks on the earlier one into account.",
)
