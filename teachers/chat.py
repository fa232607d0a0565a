"""The chat client: LangChain's ChatOpenAI over our own transport, losing nothing the server told.

In: a `Request` (`complete`), or whatever LangChain passes to a chat model (`invoke`, `stream`, …).
Out: a `Completion`, or messages whose `additional_kwargs` hold `reasoning_content` and `refusal`,
and whose `response_metadata` holds log-probabilities, token ids, finish and stop reason, usage,
model, fingerprint and `simulated`. Failures are `teachers.errors` on every path.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from typing import Any, Literal, Self

from langchain_core.caches import BaseCache
from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import BaseChatOpenAI
from openai import BaseModel as OpenAIModel
from pydantic import BaseModel, Field, PrivateAttr, SecretStr, model_validator

from teachers.structured import (
    choices_of,
    completion_from_response,
    parse_structured,
    schema_of,
    split_thinking,
)
from teachers.transport import HttpTransport
from teachers.types import Completion, Request

__all__ = ["TeacherChat", "completion_from_message", "completion_from_response", "split_thinking"]
PATH = "/chat/completions"
# What every chunk of a stream repeats.
_OF_THE_WHOLE = frozenset({"id", "model", "simulated"})
# What ChatOpenAI knows and our transport does not do; taking it silently would be a lie.
_NOT_HERE = ("http_client", "http_async_client", "http_socket_options", "max_retries")


def completion_from_message(message: AIMessage, teacher: str = "teacher") -> Completion:
    """The `Completion` of a message that `TeacherChat` made, equal to the server's answer's."""
    told = message.response_metadata
    whole = ("id", "model", "system_fingerprint", "simulated", "prompt_token_ids")
    choice = {name: told.get(name) for name in ("finish_reason", "logprobs", "token_ids")}
    choice["message"] = {**message.additional_kwargs, "content": message.content}
    response = {name: told.get(name) for name in whole}
    return completion_from_response(
        {**response, "usage": told.get("token_usage"), "choices": [choice]}, teacher
    )


class TeacherChat(ChatOpenAI):
    """A chat model at one OpenAI-compatible endpoint; keyless unless given `api_key`.

    Nothing is read from the environment: `base_url` and `api_key` are what they are given as.
    Retries, limits and caching are the gateway's and not done here. `close()` it.
    """

    teacher: str = "teacher"
    """What the recipe calls it; stands in every error."""
    api_key_env: str | None = None
    """The environment variable that holds the key, for errors."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """How the answer's limit is spelt. None: `max_completion_tokens` at api.openai.com, whose
    reasoning models know nothing else, and `max_tokens` elsewhere, as many servers know only that.
    """

    request_timeout: float = Field(default=600.0, alias="timeout")
    openai_proxy: str | None = None
    output_version: str | None = None
    use_responses_api: bool | None = False
    stream_usage: bool | None = True
    cache: BaseCache | bool | None = Field(default=False, exclude=True)

    _transport: HttpTransport = PrivateAttr()

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """In the place of the parent's validator of this name, which reads OPENAI_* and LangSmith
        gateway variables and builds SDK clients that would not be used."""
        if not self.openai_api_base:
            raise ValueError("base_url must be given")
        if unknown := [name for name in _NOT_HERE if getattr(self, name) is not None]:
            raise ValueError(f"TeacherChat has a transport of its own, without {unknown}")
        if self.use_responses_api or callable(self.openai_api_key):
            raise ValueError("TeacherChat speaks Chat Completions, with a key that is a string")
        self._transport = self._new_transport()
        if self.max_tokens_field is None:
            official = self._transport.host.endswith("api.openai.com")
            self.max_tokens_field = "max_completion_tokens" if official else "max_tokens"
        return self

    @classmethod
    def for_teacher(
        cls,
        *,
        name: str,
        base_url: str,
        model: str,
        api_key: str | None = None,
        api_key_env: str | None = None,
        timeout_s: float = 600.0,
        extra_body: dict[str, Any] | None = None,
        return_token_ids: bool = False,
    ) -> Self:
        """The client of a recipe's teacher. `return_token_ids` is vLLM's parameter."""
        token_ids = {"return_token_ids": True} if return_token_ids else {}
        return cls(
            teacher=name,
            base_url=base_url,
            model=model,
            api_key=SecretStr(api_key) if api_key else None,
            api_key_env=api_key_env,
            timeout=timeout_s,
            extra_body={**token_ids, **(extra_body or {})} or None,
        )

    async def complete(self, request: Request, config: RunnableConfig | None = None) -> Completion:
        """One attempt at `request`; what it leaves open is as this model was constructed.

        Where nobody listens (no callback, LangSmith tracing or LangGraph stream), no LangChain
        object is made; else it goes through `ainvoke`. Both give the same completion.

        Raises:
            TeacherError: see `teachers.errors`.
        """
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        parameters = self._parameters(request)
        if self._is_watched(config):
            message = await self.ainvoke(messages, config, stream=False, **parameters)
            return completion_from_message(message, self.teacher)
        payload = self._wire({**self._default_params, **parameters, "messages": messages})
        response, _ = await self._transport.post_json(PATH, payload)
        return completion_from_response(response, self.teacher)

    async def list_models(self) -> list[dict[str, Any]]:
        """The models that the endpoint lists, as it words them; vLLM adds `max_model_len`."""
        answer, _ = await self._transport.get_json("/models")
        models = answer.get("data")
        if not isinstance(models, list):
            raise self._transport.fault("lists no models", f"It sent {', '.join(answer)}.")
        return [model for model in models if isinstance(model, dict)]

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    def _new_transport(self) -> HttpTransport:
        key = self.openai_api_key
        headers = dict(self.default_headers or {})
        if self.openai_organization:
            headers["OpenAI-Organization"] = self.openai_organization
        return HttpTransport(
            self.openai_api_base or "",
            name=self.teacher,
            api_key=key.get_secret_value() if isinstance(key, SecretStr) else None,
            api_key_env=self.api_key_env,
            timeout_s=self.request_timeout,
            headers=headers,
            proxy=self.openai_proxy,
        )

    def _is_watched(self, config: RunnableConfig | None) -> bool:
        callbacks = ensure_config(config).get("callbacks")
        if isinstance(callbacks, BaseCallbackManager) and not (self.callbacks or self.verbose):
            # A manager inherited from a graph's node has had tracing put in already.
            return bool(callbacks.handlers) or bool(self.rate_limiter) or self.cache is not False
        manager = AsyncCallbackManager.configure(callbacks, self.callbacks, self.verbose)
        return bool(manager.handlers or self.rate_limiter or self.cache is not False)

    def _parameters(self, request: Request) -> dict[str, Any]:
        """The request without its messages, as keywords that LangChain passes on."""
        sampling = request.sampling
        parameters = {
            "model": request.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": None if sampling.seed is None else sampling.seed + request.ask,
            "logprobs": True if sampling.top_logprobs is not None else None,
            "top_logprobs": sampling.top_logprobs,
            "response_format": _response_format(request),
            "extra_body": {**(self.extra_body or {}), **dict(sampling.extra)} or None,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    def _wire(self, payload: dict[str, Any]) -> dict[str, Any]:
        """`payload` as it is sent: one spelling of the limit, a schema for a class, no nulls."""
        # The parent spells its default the second way, so a call's own limit is the first.
        limits = [payload.pop(name, None) for name in ("max_tokens", "max_completion_tokens")]
        limit = limits[1] if limits[0] is None else limits[0]
        payload[self.max_tokens_field or "max_tokens"] = limit
        form = payload.get("response_format")
        if isinstance(form, type) and issubclass(form, BaseModel):
            payload["response_format"] = _strict_format(form.__name__, schema_of(form))
        payload |= payload.pop("extra_body", None) or {}
        if not payload.get("stream"):
            payload.pop("stream", None)
        return {name: value for name, value in payload.items() if value is not None}

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        # Past ChatOpenAI's own, which renames `max_tokens` for OpenAI's servers.
        return self._wire(BaseChatOpenAI._get_request_payload(self, input_, stop=stop, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        response, headers = await self._transport.post_json(PATH, payload)
        return self._result(response, headers, kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        transport = self._new_transport()
        with _own_loop() as run:
            try:
                response, headers = run(transport.post_json(PATH, payload))
            finally:
                run(transport.close())
        return self._result(response, headers, kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        payload = self._stream_payload(messages, stop, kwargs)
        async with aclosing(self._chunks(self._transport, payload)) as chunks:
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        payload = self._stream_payload(messages, stop, kwargs)
        transport = self._new_transport()
        chunks = self._chunks(transport, payload)
        with _own_loop() as run:
            try:
                while (chunk := run(_next(chunks))) is not None:
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
            finally:
                run(chunks.aclose())
                run(transport.close())

    def _stream_payload(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        if self._should_stream_usage(kwargs.pop("stream_usage", None), **kwargs):
            kwargs.setdefault("stream_options", {"include_usage": True})
        return self._get_request_payload(messages, stop=stop, **{**kwargs, "stream": True})

    async def _chunks(
        self, transport: HttpTransport, payload: dict[str, Any]
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        finished = False
        async with aclosing(transport.stream_json(PATH, payload)) as answers:
            async for answer in answers:
                chunk = self._convert_chunk_to_generation_chunk(answer, AIMessageChunk, None)
                if chunk is not None:
                    finished |= "finish_reason" in (chunk.generation_info or {})
                    yield chunk
        if not finished:
            raise transport.fault("ended a stream early", "No finish_reason came.")

    def _result(
        self, response: dict[str, Any], headers: Mapping[str, str], kwargs: dict[str, Any]
    ) -> ChatResult:
        info = {"headers": dict(headers)} if self.include_response_headers else None
        result = self._create_chat_result(response, info)
        form = kwargs.get("response_format")
        if isinstance(form, type) and issubclass(form, BaseModel):
            for generation in result.generations:
                kept = generation.message.additional_kwargs
                if "refusal" not in kept:
                    kept["parsed"] = parse_structured(generation.text, form)
        return result

    def _create_chat_result(
        self, response: dict[str, Any] | OpenAIModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        answer = response if isinstance(response, dict) else response.model_dump(warnings=False)
        choices = choices_of(answer, self.teacher)
        for choice in choices:
            choice["message"]["role"] = "assistant"
        result = super()._create_chat_result(answer, {})
        for choice, generation in zip(choices, result.generations, strict=True):
            # Anew: the parent fills a choice's gaps with what the choice before it had.
            told = {"finish_reason": None, **_told(answer, choice)}
            generation.generation_info = {**(generation_info or {}), **told}
            _keep(choice["message"], generation.message)
        return result

    def _convert_chunk_to_generation_chunk(
        self,
        chunk: dict[str, Any],
        default_chunk_class: type,
        base_generation_info: dict[str, Any] | None,
    ) -> ChatGenerationChunk | None:
        choice = (chunk.get("choices") or [None])[0]
        if choice is not None and choice.get("delta") is None:
            choice["delta"] = {}
        generation = super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )
        if generation is None or choice is None:
            return generation
        told = _told(chunk, choice)
        if "finish_reason" not in told:
            # Chunks are added up, texts too: what every chunk repeats is taken from the last.
            told = {name: told[name] for name in told.keys() - _OF_THE_WHOLE}
        generation.generation_info = {**(generation.generation_info or {}), **told} or None
        _keep(choice["delta"], generation.message)
        return generation


def _told(response: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    """What a server tells about a choice besides its message, as far as it does."""
    of_choice = ("finish_reason", "logprobs", "stop_reason", "token_ids")
    told = {name: choice.get(name) for name in of_choice}
    told |= {name: response.get(name) for name in ("prompt_token_ids", *_OF_THE_WHOLE)}
    return {name: value for name, value in told.items() if value is not None}


def _keep(source: dict[str, Any], message: BaseMessage) -> None:
    """Puts what a message or delta holds besides its content where LangChain looks for it."""
    reasoning = source.get("reasoning_content") or source.get("reasoning")
    for name, text in (("reasoning_content", reasoning), ("refusal", source.get("refusal"))):
        if isinstance(text, str) and text:
            message.additional_kwargs[name] = text


def _response_format(request: Request) -> dict[str, Any] | None:
    if request.schema is None or request.structured_mode in (None, "prompt"):
        return None
    if request.structured_mode == "json_object":
        return {"type": "json_object"}
    if request.structured_mode == "json_schema":
        return _strict_format(request.schema_name or "answer", request.schema)
    raise ValueError(f"unknown structured mode {request.structured_mode!r}")


def _strict_format(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    wanted = {"name": name, "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": wanted}


async def _next(chunks: AsyncIterator[ChatGenerationChunk]) -> ChatGenerationChunk | None:
    return await anext(chunks, None)


@contextmanager
def _own_loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Runs coroutines for the synchronous methods; in a thread where a loop runs in this one."""
    try:
        inside = asyncio.get_running_loop() is not None
    except RuntimeError:
        inside = False
    runner = asyncio.Runner()
    with ThreadPoolExecutor(1) as pool:

        def do(function: Callable[..., Any], *arguments: Any) -> Any:
            if inside:
                return pool.submit(function, *arguments).result()
            return function(*arguments)

        try:
            yield lambda coroutine: do(runner.run, coroutine)
        finally:
            do(runner.close)
