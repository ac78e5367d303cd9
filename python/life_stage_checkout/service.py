"""Recommendations over HTTP: life-stage serve. Extra: serve.

It answers from the published set, and loads the next one when a run has published it; until then, and where that cannot
be loaded, the old one serves. It has no authentication: it listens on loopback, or behind the shop's gateway.
"""

import asyncio
import threading
import warnings
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, perf_counter, time
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from life_stage_checkout.answers import Answer, PublishedSet
from life_stage_checkout.request_log import ANSWERS, Log, RequestLog

MAX_BYTES, BODY_SECONDS = 262_144, 5.0  # of a request's body
CLOSE = {"connection": "close"}  # the rest of the body is not read
MAX_HEADER_BYTES = 65_536
MAX_CONNECTIONS = 512
LOG_SECONDS, ROWS_PER_FILE = 60.0, 100_000  # of the logs
RETRY_SECONDS = 60.0  # after a set could not be loaded
NOTHING_LOADED = "LS-CHK-006 no published set is loaded: run the job, or read the service's log"
STALE_DAYS = 40  # from the last day of the data: a monthly job publishes the next ones after 33 days
BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1)  # seconds of an answer

OF_ID = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 256}, {"type": "integer"}]}
Id = Annotated[
    str,
    BeforeValidator(lambda given: str(given) if type(given) is int else given),
    StringConstraints(min_length=1, max_length=256),
    WithJsonSchema(OF_ID),
]
Price = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Word = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class RecommendationRequest(BaseModel):
    """What to recommend. Ids are those of the source, texts or whole numbers; unknown items and users are ignored."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"cart": ["1000005", "1000063"], "user": "10000042", "n": 5}]}
    )

    cart: list[Id] = Field([], max_length=200, description="Items in the cart; none of them is recommended.")
    user: Id | None = Field(None, description="The shopper.")
    n: int = Field(10, ge=1, le=20, strict=True, description="Number of items.")
    visit: list[Id] = Field([], max_length=500, description="Items looked at in this visit.")
    exclude: list[Id] = Field([], max_length=10_000, description="Items not to recommend.")
    in_stock: list[Id] | None = Field(None, max_length=10_000, description="The only items to recommend.")
    categories: list[Id] | None = Field(None, max_length=100, description="The only leaf categories.")
    min_price: Price | None = Field(None, description="Lowest price; with a limit, no item of unknown price.")
    max_price: Price | None = Field(None, description="Highest price, at least min_price.")
    purpose: Word | None = Field(
        None,
        description="Purpose as in the table consents: without it, or the table, the user counts as unknown.",
    )
    placement: Word = Field("checkout", description="Where the items are shown, for the log.")

    @model_validator(mode="after")
    def limits_in_order(self) -> "RecommendationRequest":
        """Raise ValueError for a max_price below min_price."""
        if None not in (self.min_price, self.max_price) and self.max_price < self.min_price:
            raise ValueError("max_price is below min_price")
        return self


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


class Served:
    """The newest published set that could be loaded, and its figures for Prometheus."""

    def __init__(
        self, link: Path, key: bytes, logs: Path | None, seconds: float = 1.0, max_age_days: int | None = None
    ):
        self.link, self.key, self.seconds, self.max_age_days = link, key, seconds, max_age_days
        self.current: PublishedSet | None = None
        self.failed: tuple[Path | None, float] = (None, 0.0)  # the set that could not be loaded, and when to retry
        self.requests = RequestLog(logs / "requests", ROWS_PER_FILE) if logs else None
        self.answers = Log(logs / "answers", ANSWERS, ROWS_PER_FILE) if logs else None
        self.stopped = threading.Event()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        named = {"registry": self.registry, "namespace": "life_stage"}
        self.n_answers = Counter("answers", "Answers given.", ["model", "is_known_user"], **named)
        self.n_refused = Counter("refused", "Requests without an answer.", ["status"], **named)
        self.answer_seconds = Histogram("answer_seconds", "Time of an answer.", buckets=BUCKETS, **named)
        self.loaded_at = Gauge("set_loaded_timestamp_seconds", "When the newest set was loaded.", **named)
        self.as_of = Gauge("data_as_of_timestamp_seconds", "Last day of the data of the newest set.", **named)
        self.n_failures = Counter("set_failures", "Sets that could not be loaded.", **named)

    def refresh(self) -> None:
        """Load the set that the link names, unless it is there already or has just failed."""
        folder = None
        try:
            folder = self.link.resolve()
            is_waiting = folder == self.failed[0] and monotonic() < self.failed[1]
            if is_waiting or (self.current and folder == self.current.folder):
                return
            self.current = PublishedSet.load(self.link, self.key, self.requests)
            self.failed = (None, 0.0)
            self.loaded_at.set(time())
            self.as_of.set(datetime.combine(self.current.as_of, datetime.min.time(), UTC).timestamp())
            if stale := self.stale(STALE_DAYS):
                warnings.warn(stale, stacklevel=2)
        except Exception as error:  # whatever the set holds, the old one goes on serving
            if self.failed[0] != folder:
                self.n_failures.inc()
                warnings.warn(f"{self.link} was not loaded: {error or type(error).__name__}", stacklevel=2)
            self.failed = (folder, monotonic() + RETRY_SECONDS)

    def watch(self) -> None:
        """Refresh until stopped, and write the logs."""
        logged_at = time()
        while not self.stopped.wait(self.seconds):
            self.refresh()
            if time() - logged_at > LOG_SECONDS:
                logged_at = time()
                self.flush()

    def flush(self) -> None:
        """Write the logs."""
        for log in (self.requests, self.answers):
            if log is not None:
                log.flush()

    def stale(self, days: int | None) -> str:
        """The message about a loaded set whose data are older than these days; empty for others and without a limit."""
        age = (datetime.now(UTC).date() - self.current.as_of).days
        if days is None or age <= days:
            return ""
        return f"LS-CHK-007 the newest data are of {self.current.as_of}, {age} days ago: run the job"

    def reason_to_refuse(self) -> str:
        """Why no request is answered; empty if they are."""
        return NOTHING_LOADED if self.current is None else self.stale(self.max_age_days)

    def answer(self, request: RecommendationRequest) -> Answer:
        """The answer, counted and logged."""
        start = perf_counter()
        answer = self.current.answer(**dict(request), log=self.answers)
        self.n_answers.labels(answer.model, answer.is_known_user).inc()
        self.answer_seconds.observe(perf_counter() - start)
        return answer

    def refused(self, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
        """A response without an answer, counted."""
        self.n_refused.labels(status).inc()
        return JSONResponse({"detail": detail}, status, headers)


def invalid(what: str) -> str:
    """The message about a request that is not answered as it is."""
    return f"LS-CHK-008 {what}: correct the request as /docs describes it"


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 of uvicorn, which closes connections whose headers are late or long: it has no such limits itself."""

    seconds = 5.0

    def connection_made(self, transport) -> None:
        """Wait for the first headers."""
        super().connection_made(transport)
        self.n_bytes, self.due = 0, self.loop.call_later(self.seconds, transport.close)

    def on_message_begin(self) -> None:
        """Wait for the headers of a request."""
        super().on_message_begin()
        self.due.cancel()
        self.n_bytes, self.due = 0, self.loop.call_later(self.seconds, self.transport.close)

    def on_headers_complete(self) -> None:
        """The body has limits of its own: BodyLimit."""
        self.due.cancel()
        self.n_bytes = -(10**12)
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of the headers."""
        self.n_bytes += len(data)
        super().data_received(data)
        if self.n_bytes > MAX_HEADER_BYTES:  # they are still incomplete
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self.due.cancel()
        super().connection_lost(exc)


class BodyLimit:
    """ASGI middleware: reads the body of a request whole, within MAX_BYTES and BODY_SECONDS."""

    def __init__(self, app, served: Served):
        self.app, self.served = app, served

    async def __call__(self, scope, receive, send):
        """Pass the request on with its body."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body, is_more = bytearray(), True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while is_more and len(body) <= MAX_BYTES:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None  # the client has gone
                    body += message.get("body", b"")
                    is_more = message.get("more_body", False)
        except TimeoutError:
            refused = self.served.refused(408, invalid(f"the body took over {BODY_SECONDS:.0f} s"), CLOSE)
            return await refused(scope, receive, send)
        if len(body) > MAX_BYTES:
            refused = self.served.refused(413, invalid(f"the body has over {MAX_BYTES} bytes"), CLOSE)
            return await refused(scope, receive, send)
        messages = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def read():
            return next(messages, None) or await receive()

        return await self.app(scope, read, send)


def application(served: Served) -> FastAPI:
    """The service. Its documentation, at /docs, needs no network."""

    @asynccontextmanager
    async def lifespan(_: FastAPI):
        await asyncio.to_thread(served.refresh)
        watcher = threading.Thread(target=served.watch, daemon=True)
        watcher.start()
        yield
        served.stopped.set()
        await asyncio.to_thread(watcher.join)
        served.flush()

    app = FastAPIOffline(
        title="Life-stage recommendations",
        description="Items for a cart, a shopper or both, from the published set.",
        version="1",
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit, served=served)
    problems = {status: {"model": Problem} for status in (400, 408, 413, 422, 503)}

    @app.post("/recommendations", response_model=Answer, responses=problems)
    async def recommendations(request: RecommendationRequest) -> Response:
        """Recommend items. It takes milliseconds, so the event loop waits for it."""
        if reason := served.reason_to_refuse():
            return served.refused(503, reason)
        return JSONResponse(asdict(served.answer(request)))

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def alive() -> dict[str, str]:
        """The process answers."""
        return {"status": "alive"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", responses={503: {"model": Problem}})
    async def ready() -> dict[str, str]:
        """A published set is loaded; 503 without one, or if its data are too old. Old data have a warning."""
        if reason := served.reason_to_refuse():
            return served.refused(503, reason)
        current, stale = served.current, served.stale(STALE_DAYS)
        facts = {
            "status": "ready",
            "run_id": current.run_id,
            "folder": current.folder.name,
            "as_of": f"{current.as_of}",
        }
        return facts | ({"warning": stale} if stale else {})

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(generate_latest(served.registry), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(RequestValidationError)
    async def invalid_fields(_: Request, error: RequestValidationError) -> Response:
        found = [(".".join(map(str, each["loc"][1:]))[:60] or "body", each["msg"]) for each in error.errors()[:5]]
        return served.refused(422, invalid("; ".join(f"{where}: {message}" for where, message in found)))

    @app.exception_handler(HTTPException)
    async def invalid_request(_: Request, error: HTTPException) -> Response:
        return served.refused(error.status_code, invalid(error.detail), error.headers)

    return app


def serve(link: Path, key: bytes, host: str, port: int, logs: Path | None, max_age_days: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT; answers under way are finished."""
    app = application(Served(link, key, logs, max_age_days=max_age_days))
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )
