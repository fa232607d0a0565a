"""The chat client against a real local server, on every path of LangChain and the factory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import collect_runs
from pydantic import BaseModel

from teachers.chat import TeacherChat, completion_from_message
from teachers.errors import (
    AuthenticationFailed,
    ContextExceeded,
    RateLimited,
    ServerFault,
    TeacherError,
    TransportFault,
    Unreachable,
)
from teachers.types import Completion, Message, Request, Sampling, Usage

KEY = "sk-secret-0123456789"
LOGPROBS = {"content": [{"token": "an", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
WHOLE: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "deep-1-0528",
    "system_fingerprint": "fp-3",
    "simulated": True,
    "prompt_token_ids": [1, 2, 3],
    "usage": {
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "total_tokens": 8,
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "an answer", "reasoning": "steps"},
            "logprobs": LOGPROBS,
            "token_ids": [7, 8],
            "finish_reason": "stop",
            "stop_reason": 151645,
        }
    ],
}
COMPLETION = Completion(
    content="an answer",
    reasoning="steps",
    finish_reason="stop",
    model="deep-1-0528",
    revision="fp-3",
    usage=Usage(3, 5, 2),
    logprobs=LOGPROBS,
    prompt_token_ids=(1, 2, 3),
    token_ids=(7, 8),
    response_id="chatcmpl-1",
    simulated=True,
)


@dataclass
class Server:
    """Answers with `answer`, or with what a request brings under `respond`; keeps what came."""

    answer: Any = field(default_factory=lambda: WHOLE)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any] | bytes] = field(default_factory=list)
    url: str = ""
    received: list[dict[str, Any]] = field(default_factory=list)
    received_headers: list[dict[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.received_headers.append(dict(request.headers))
        body = orjson.loads(await request.read() or b"{}")
        self.received.append(body)
        if body.get("stream") and self.status == 200:
            return await self._stream(request)
        answer = body.get("respond", self.answer)
        raw = answer if isinstance(answer, bytes) else orjson.dumps(answer)
        return web.Response(
            status=self.status,
            body=raw,
            headers=self.headers,
            content_type="application/json",
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in self.events:
            data = event if isinstance(event, bytes) else orjson.dumps(event)
            await response.write(b"data: " + data + b"\n\n")
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application(client_max_size=10_000_000)
    app.router.add_route("*", "/v1/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()


@asynccontextmanager
async def client(server: Server, **settings: Any) -> AsyncIterator[TeacherChat]:
    chat = TeacherChat(teacher="deep", base_url=server.url, model="deep-1", **settings)
    try:
        yield chat
    finally:
        await chat.close()


class Listener(AsyncCallbackHandler):
    """Keeps the names of the events and the last result."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.tokens: list[str] = []
        self.result: LLMResult | None = None

    async def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.events.append("start")

    async def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.tokens.append(token)

    async def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.events.append("end")
        self.result = response

    async def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.events.append(type(error).__name__)


def request(**changes: Any) -> Request:
    fields: dict[str, Any] = {
        "endpoint": "here",
        "model": "deep-1",
        "revision": None,
        "messages": (Message("system", "Be brief."), Message("user", "一加一？")),
    }
    return Request(**{**fields, **changes})


# What is kept


async def test_complete_returns_everything_that_the_server_told(server: Server) -> None:
    async with client(server) as chat:
        assert await chat.complete(request()) == COMPLETION


Invoke = Callable[[TeacherChat, str], Any]


async def ainvoked(chat: TeacherChat, text: str) -> AIMessage:
    return await chat.ainvoke(text)


async def invoked_in_a_thread(chat: TeacherChat, text: str) -> AIMessage:
    return await asyncio.to_thread(chat.invoke, text)


@pytest.mark.parametrize("invoke", [ainvoked, invoked_in_a_thread])
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_a_message_keeps_what_the_parent_drops(
    server: Server, invoke: Invoke, name: str
) -> None:
    choice = WHOLE["choices"][0]
    said = {"role": "assistant", "content": "an answer", name: "steps", "refusal": "not all"}
    server.answer = {**WHOLE, "choices": [{**choice, "message": said}]}
    async with client(server) as chat:
        message = await invoke(chat, "question")
    assert message.content == "an answer"
    assert message.additional_kwargs == {"reasoning_content": "steps", "refusal": "not all"}
    told = message.response_metadata
    assert told["logprobs"] == LOGPROBS
    assert told["token_ids"] == [7, 8]
    assert told["prompt_token_ids"] == [1, 2, 3]
    assert (told["finish_reason"], told["stop_reason"]) == ("stop", 151645)
    assert (told["model"], told["model_name"]) == ("deep-1-0528", "deep-1-0528")
    assert (told["system_fingerprint"], told["id"]) == ("fp-3", "chatcmpl-1")
    assert told["simulated"] is True
    assert told["token_usage"] == WHOLE["usage"]
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_token_details"] == {"reasoning": 2}


async def test_each_of_several_choices_keeps_its_own(server: Server) -> None:
    first = {
        "message": {"content": "answer 0", "reasoning": "steps 0"},
        "logprobs": LOGPROBS,
        "token_ids": [0],
        "finish_reason": "stop",
    }
    second = {"message": {"content": "answer 1"}, "token_ids": [1], "finish_reason": None}
    server.answer = {**WHOLE, "choices": [first, second]}
    async with client(server, n=2) as chat:
        result = await chat.agenerate([[HumanMessage("question")]])
    assert server.received[0]["n"] == 2
    told = [generation.message.response_metadata for generation in result.generations[0]]
    kept = [generation.message.additional_kwargs for generation in result.generations[0]]
    assert [part["token_ids"] for part in told] == [[0], [1]]
    assert [part.get("logprobs") for part in told] == [LOGPROBS, None]
    assert [part["finish_reason"] for part in told] == ["stop", None]
    assert kept == [{"reasoning_content": "steps 0"}, {}]


async def test_tool_calls_still_work(server: Server) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    server.answer = {**WHOLE, "choices": [{"message": said, "finish_reason": "tool_calls"}]}

    def add(a: int) -> int:
        """Adds."""
        return a

    async with client(server) as chat:
        message = await chat.bind_tools([add]).ainvoke("question")
    assert server.received[0]["tools"][0]["function"]["name"] == "add"
    assert message.tool_calls[0]["args"] == {"a": 1}


class Verdict(BaseModel):
    correct: bool


async def test_langchains_structured_output_still_works(server: Server) -> None:
    said = {"role": "assistant", "content": '{"correct": true}'}
    server.answer = {**WHOLE, "choices": [{"message": said, "finish_reason": "stop"}]}
    async with client(server) as chat:
        assert await chat.with_structured_output(Verdict).ainvoke("?") == Verdict(correct=True)
    sent = server.received[0]["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"]) == ("Verdict", True)
    assert sent["schema"]["required"] == ["correct"]


# Streams


def chunk(delta: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": None, **more.pop("choice", {})}
    return {"id": "chatcmpl-1", "model": "deep-1", "simulated": True, "choices": [choice], **more}


def stream_of(name: str) -> list[dict[str, Any] | bytes]:
    return [
        chunk({"role": "assistant", "content": ""}, prompt_token_ids=[1, 2]),
        chunk({name: "st"}, choice={"token_ids": [4]}),
        chunk({name: "eps", "content": None}, choice={"token_ids": [5, 6]}),
        chunk({"content": "an "}, choice={"token_ids": [7], "logprobs": LOGPROBS}),
        chunk({"content": "answer"}, choice={"token_ids": [8], "logprobs": LOGPROBS}),
        chunk(
            None,
            choice={"finish_reason": "stop", "stop_reason": 151645},
            system_fingerprint="fp-3",
        ),
        {"choices": [], "usage": WHOLE["usage"]},
        b"[DONE]",
    ]


async def astreamed(chat: TeacherChat) -> AIMessageChunk:
    whole = None
    async for piece in chat.astream("question"):
        whole = piece if whole is None else whole + piece
    assert isinstance(whole, AIMessageChunk)
    return whole


def streamed(chat: TeacherChat) -> AIMessageChunk:
    whole = None
    for piece in chat.stream("question"):
        whole = piece if whole is None else whole + piece
    assert isinstance(whole, AIMessageChunk)
    return whole


async def streamed_in_a_thread(chat: TeacherChat) -> AIMessageChunk:
    return await asyncio.to_thread(streamed, chat)


@pytest.mark.parametrize("stream", [astreamed, streamed_in_a_thread])
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_a_streams_chunks_add_up_to_the_whole_message(
    server: Server, stream: Callable[[TeacherChat], Any], name: str
) -> None:
    server.events = stream_of(name)
    async with client(server) as chat:
        message = await stream(chat)
    assert server.received[0]["stream_options"] == {"include_usage": True}
    assert message.content == "an answer"
    assert message.additional_kwargs == {"reasoning_content": "steps"}
    told = message.response_metadata
    assert told["token_ids"] == [4, 5, 6, 7, 8]
    assert told["prompt_token_ids"] == [1, 2]
    assert len(told["logprobs"]["content"]) == 2
    assert (told["finish_reason"], told["stop_reason"]) == ("stop", 151645)
    assert (told["model"], told["id"], told["simulated"]) == ("deep-1", "chatcmpl-1", True)
    assert told["system_fingerprint"] == "fp-3"
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_token_details"] == {"reasoning": 2}


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([chunk({"content": "an "})], TransportFault),
        ([chunk({"content": "an "}), b"[DONE]"], TransportFault),
        ([chunk({"content": "an "}), {"error": {"message": "died"}}], ServerFault),
    ],
)
async def test_a_stream_that_ends_before_its_answer_does_is_an_error(
    server: Server, events: list[Any], kind: type[TeacherError]
) -> None:
    server.events = events
    async with client(server) as chat:
        for stream in (astreamed, streamed_in_a_thread):
            with pytest.raises(TeacherError) as raised:
                await stream(chat)
            assert type(raised.value) is kind


async def test_synchronous_calls_work_inside_a_running_loop(server: Server) -> None:
    """The server lives in another thread here, as the loop of this one is blocked meanwhile."""
    other = Server(events=stream_of("reasoning"))
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/{path:.*}", other.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        other.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready.set()
        await asyncio.to_thread(over.wait)
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        chat = TeacherChat(base_url=other.url, model="deep-1")
        assert completion_from_message(chat.invoke("question")) == COMPLETION
        assert streamed(chat).content == "an answer"
    finally:
        over.set()
        thread.join()


# Callbacks, and the short way without them


async def test_callbacks_see_an_ainvoke_from_start_to_end(server: Server) -> None:
    listener = Listener()
    async with client(server, callbacks=[listener]) as chat:
        await chat.ainvoke("question")
    assert listener.events == ["start", "end"]
    assert listener.result is not None
    assert listener.result.llm_output is not None
    assert listener.result.llm_output["token_usage"]["completion_tokens"] == 5


async def test_callbacks_see_tokens_and_errors(server: Server) -> None:
    server.events = [chunk({"content": "an "}), chunk({"content": "answer"})]
    listener = Listener()
    async with client(server) as chat:
        with pytest.raises(TransportFault):
            async for _ in chat.astream("question", {"callbacks": [listener]}):
                pass
    assert listener.tokens == ["an ", "answer"]
    assert listener.events == ["start", "TransportFault"]


async def test_complete_is_seen_by_callbacks_given_constructed_inherited_or_tracing(
    server: Server,
) -> None:
    async with client(server) as chat:
        given_here, inherited, constructed = Listener(), Listener(), Listener()
        assert await chat.complete(request(), {"callbacks": [given_here]}) == COMPLETION

        async def node(question: Request) -> Completion:
            return await chat.complete(question)

        answer = await RunnableLambda(node).ainvoke(request(), {"callbacks": [inherited]})
        assert answer == COMPLETION
        with collect_runs() as tracer:
            assert await chat.complete(request()) == COMPLETION
        assert [run.run_type for run in tracer.traced_runs] == ["llm"]
    async with client(server, callbacks=[constructed]) as chat:
        assert await chat.complete(request()) == COMPLETION
    for listener in (given_here, inherited, constructed):
        assert listener.events == ["start", "end"]


async def test_complete_is_one_answer_even_under_a_streaming_listener(server: Server) -> None:
    async with client(server) as chat:
        events = [
            event["event"]
            async for event in RunnableLambda(chat.complete).astream_events(request(), version="v2")
        ]
    assert "on_chat_model_end" in events
    assert "stream" not in server.received[0]


TEXTS = st.lists(
    st.sampled_from(["<think>", "</think>", "\n"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    max_size=5,
).map("".join)
MAYBE_TEXT = st.none() | TEXTS
RESPONSES = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {
                    "message": st.fixed_dictionaries(
                        {},
                        optional={
                            "content": MAYBE_TEXT
                            | st.lists(
                                st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}),
                                max_size=2,
                            ),
                            "reasoning_content": MAYBE_TEXT,
                            "reasoning": MAYBE_TEXT,
                            "refusal": MAYBE_TEXT,
                        },
                    )
                },
                optional={
                    "finish_reason": st.sampled_from(["stop", "length", "content_filter", None]),
                    "logprobs": st.sampled_from([None, LOGPROBS]),
                    "token_ids": st.none() | st.lists(st.integers(0, 9), max_size=3),
                    "stop_reason": st.sampled_from([None, 7, "x"]),
                },
            ),
            min_size=1,
            max_size=1,
        )
    },
    optional={
        "id": MAYBE_TEXT,
        "model": st.sampled_from(["deep-1", "simulated-1", None]),
        "system_fingerprint": st.sampled_from(["fp-3", "simulated-3", "", None]),
        "simulated": st.sampled_from([True, False, None]),
        "prompt_token_ids": st.none() | st.lists(st.integers(0, 9), max_size=3),
        "usage": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "prompt_tokens": st.integers(0, 9),
                "completion_tokens": st.integers(0, 9),
                "reasoning_tokens": st.integers(0, 9),
                "completion_tokens_details": st.none() | st.just({"reasoning_tokens": 2}),
            },
        ),
    },
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(response=RESPONSES)
async def test_both_ways_of_complete_give_the_same_completion(
    server: Server, response: dict[str, Any]
) -> None:
    asked = request(sampling=Sampling(extra=(("respond", response),)))
    async with client(server) as chat:
        short = await chat.complete(asked)
        assert short == await chat.complete(asked, {"callbacks": [Listener()]})


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    "asked",
    [
        request(),
        request(sampling=Sampling(0.0, 0.9, 64, 7, 5)),
        request(sampling=Sampling(extra=(("stop", ["\n"]), ("metadata", {"a": 1}), ("n", None)))),
        request(schema_name="pair", schema=SCHEMA, structured_mode="json_schema"),
        request(schema_name="pair", schema=SCHEMA, structured_mode="json_object"),
        request(schema_name="pair", schema=SCHEMA, structured_mode="prompt"),
        request(messages=(Message("user", "{a}"), Message("assistant", ""), Message("user", "c"))),
    ],
)
async def test_both_ways_of_complete_send_the_same_request(server: Server, asked: Request) -> None:
    settings = {"temperature": 0.5, "max_tokens": 9, "extra_body": {"top_k": 3}, "seed": 1}
    async with client(server, **settings) as chat:
        await chat.complete(asked)
        await chat.complete(asked, {"callbacks": [Listener()]})
    assert server.received[0] == server.received[1]
    assert server.received[0]["top_k"] == 3


# What is sent


async def test_a_request_is_sent_as_it_says_over_what_the_model_was_constructed_with(
    server: Server,
) -> None:
    sampling = Sampling(0.0, 0.9, 64, 7, 5, (("return_token_ids", True),))
    async with client(server, temperature=0.5, max_tokens=9, frequency_penalty=0.1) as chat:
        await chat.complete(request(model="deep-2", sampling=sampling))
    assert server.received[0] == {
        "model": "deep-2",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "一加一？"},
        ],
        "temperature": 0.0,
        "top_p": 0.9,
        "max_tokens": 64,
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 5,
        "frequency_penalty": 0.1,
        "return_token_ids": True,
    }


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (
            "json_schema",
            {
                "type": "json_schema",
                "json_schema": {"name": "pair", "schema": SCHEMA, "strict": True},
            },
        ),
        ("json_object", {"type": "json_object"}),
        ("prompt", None),
        (None, None),
    ],
)
async def test_a_structured_request_asks_in_its_mode(
    server: Server, mode: str | None, expected: Any
) -> None:
    async with client(server) as chat:
        await chat.complete(request(schema_name="pair", schema=SCHEMA, structured_mode=mode))
    assert server.received[0].get("response_format") == expected


async def test_a_model_that_langchain_would_ask_elsewhere_is_asked_by_chat_completions(
    server: Server,
) -> None:
    chat = TeacherChat(base_url=server.url, model="gpt-5-codex")
    assert (await chat.ainvoke("question")).content == "an answer"
    await chat.close()
    assert server.received[0]["messages"] == [{"role": "user", "content": "question"}]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_the_limit_is_spelt_as_the_field_says_on_every_path(
    server: Server, field: Any
) -> None:
    server.events = stream_of("reasoning")
    async with client(server, max_tokens=9, max_tokens_field=field) as chat:
        await chat.complete(request())
        await chat.complete(request(sampling=Sampling(max_tokens=64)))
        await chat.ainvoke("question", max_tokens=64)
        await chat.ainvoke("question", max_completion_tokens=64)
        await astreamed(chat)
    sent = [
        {name: value for name, value in body.items() if name.startswith("max_")}
        for body in server.received
    ]
    assert sent == [{field: limit} for limit in (9, 64, 64, 64, 9)]


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("http://127.0.0.1:8000/v1", "max_tokens"),
        ("https://api.deep.example/v1", "max_tokens"),
    ],
)
def test_the_limits_spelling_follows_from_the_address(url: str, field: str) -> None:
    assert TeacherChat(base_url=url, model="deep-1").max_tokens_field == field


async def test_for_teacher_sends_its_extra_body_and_asks_for_token_ids(server: Server) -> None:
    chat = TeacherChat.for_teacher(
        name="deep",
        base_url=server.url,
        model="deep-1",
        api_key=KEY,
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
        return_token_ids=True,
    )
    await chat.complete(request())
    await chat.close()
    assert server.received[0]["return_token_ids"] is True
    assert server.received[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert server.received_headers[0]["Authorization"] == f"Bearer {KEY}"


async def test_the_listed_models_are_returned_as_the_server_words_them(server: Server) -> None:
    server.answer = {"object": "list", "data": [{"id": "deep-1", "max_model_len": 4096}]}
    async with client(server) as chat:
        assert await chat.list_models() == [{"id": "deep-1", "max_model_len": 4096}]
        server.answer = {"models": []}
        with pytest.raises(TransportFault, match="lists no models"):
            await chat.list_models()


# The environment and the key


async def test_nothing_of_the_environment_gets_into_a_keyless_request(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "OPENAI_API_KEY",
        "OPENAI_ADMIN_KEY",
        "OPENAI_ORG_ID",
        "OPENAI_ORGANIZATION",
        "OPENAI_PROJECT_ID",
        "LANGSMITH_API_KEY",
        "LANGSMITH_GATEWAY_API_KEY",
    ):
        monkeypatch.setenv(name, f"from-{name}")
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_PROXY", "LANGSMITH_GATEWAY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/v1")
    monkeypatch.setenv("LC_OUTPUT_VERSION", "v1")
    async with client(server) as chat:
        assert await chat.complete(request()) == COMPLETION
        message = await chat.ainvoke("question")
        await asyncio.to_thread(chat.invoke, "question")
    assert (message.content, chat.openai_proxy) == ("an answer", None)
    assert len(server.received_headers) == 3
    for headers in server.received_headers:
        assert "from-" not in repr(headers)
        assert not {"Authorization", "OpenAI-Organization", "OpenAI-Project"} & headers.keys()


async def test_the_key_shows_in_no_error_repr_or_serialisation(server: Server) -> None:
    server.status, server.answer = 401, {"error": {"message": f"Incorrect API key: {KEY}"}}
    async with client(server, api_key=KEY, api_key_env="DEEP_KEY") as chat:
        with pytest.raises(AuthenticationFailed) as raised:
            await chat.complete(request())
        assert server.received_headers[0]["Authorization"] == f"Bearer {KEY}"
        shown = f"{raised.value!s}{chat!r}{dumps(chat)}{chat._serialized}{chat._identifying_params}"
    assert KEY not in shown
    assert "DEEP_KEY" in raised.value.solution


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"base_url": "http://127.0.0.1:1/v1", "max_retries": 3},
        {"base_url": "http://127.0.0.1:1/v1", "use_responses_api": True},
        {"base_url": "http://127.0.0.1:1/v1", "api_key": lambda: KEY},
    ],
)
def test_settings_that_would_be_ignored_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"base_url|transport|Chat Completions"):
        TeacherChat(model="deep-1", **settings)


# Failures


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (200, b'{"choices": [', TransportFault),
        (200, {"choices": []}, TransportFault),
        (200, {"object": "chat.completion"}, TransportFault),
        (200, {"error": {"message": "died"}}, ServerFault),
        (500, b"died", ServerFault),
        (429, {"error": {"message": "slow"}}, RateLimited),
        (400, {"error": {"message": "maximum context length is 9"}}, ContextExceeded),
    ],
)
async def test_a_failure_is_typed_on_every_path(
    server: Server, status: int, answer: Any, kind: type[TeacherError]
) -> None:
    server.status, server.answer, server.headers = status, answer, {"Retry-After": "7"}
    async with client(server) as chat:
        calls: list[Callable[[], Any]] = [
            lambda: chat.complete(request()),
            lambda: chat.complete(request(), {"callbacks": [Listener()]}),
            lambda: chat.ainvoke("question"),
            lambda: asyncio.to_thread(chat.invoke, "question"),
        ]
        if status != 200:
            calls += [lambda: astreamed(chat), lambda: streamed_in_a_thread(chat)]
        for call in calls:
            with pytest.raises(TeacherError) as raised:
                await call()
            assert type(raised.value) is kind
            assert "'deep'" in raised.value.what
            assert getattr(raised.value, "retry_after_s", 7) == 7


async def test_a_teacher_that_is_not_there_is_unreachable_on_every_path(server: Server) -> None:
    server.url = "http://127.0.0.1:1/v1"
    async with client(server) as chat:
        for call in (
            lambda: chat.complete(request()),
            lambda: asyncio.to_thread(chat.invoke, "question"),
            lambda: astreamed(chat),
        ):
            with pytest.raises(Unreachable, match="stillhouse teacher check deep"):
                await call()
