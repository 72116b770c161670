"""What is compared: four ways to serve one diffusers folder, each called from many threads at once.

The three baselines do their work in one thread of their own, as a server with a lock does: a lock held in turn by the
callers' threads would give each of them its own pool of torch threads, which costs the baseline more.
"""

from __future__ import annotations

import copy
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from workloads import Work

from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.tasks import TAKES, Task
from easel_inference.engine.engine import Engine
from easel_inference.generation import Finished, GenerationRequest, Inputs, Message

STATIC_ROWS = 8
STATIC_WAIT_SECONDS = 0.05


def pipeline(folder: Path, dtype: torch.dtype, device: str) -> Any:
    """The stock pipeline of a folder."""
    made: Any = DiffusionPipeline.from_pretrained(folder, torch_dtype=dtype).to(device)
    made.set_progress_bar_config(disable=True)
    return made


def twin(made: Any) -> Any:
    """A pipeline of its own modules around the same weights: three copies of a large model fit no GPU."""
    own = {}
    for name, part in made.components.items():
        weights = list(part.parameters()) if isinstance(part, torch.nn.Module) else []
        own[name] = copy.deepcopy(
            part, {id(weight): torch.nn.Parameter(weight.data, requires_grad=False) for weight in weights}
        )
    pipeline = type(made)(**own)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def denoiser_of(made: Any) -> Any:
    """The pipeline's UNet or transformer."""
    return getattr(made, "unet", None) or made.transformer


def seeded(seed: int) -> torch.Generator:
    """The engine's own way to draw noise, so that all systems make the same pictures."""
    return torch.Generator().manual_seed(seed)


class Stock:
    """The stock pipeline behind a lock, one request at a time: what most servers wrap."""

    name = "stock"

    def __init__(self, made: Any) -> None:
        self._pipeline, self._thread = made, ThreadPoolExecutor(1)

    def make(self, work: Work) -> None:
        """Wait for the turn, then draw."""
        self._thread.submit(self._draw, work).result()

    def occupy(self, action: Callable[[], object]) -> Future[object]:
        """Do something else in its turn; pictures wait for it."""
        return self._thread.submit(action)

    def _draw(self, work: Work) -> None:
        self._pipeline(work.prompt, generator=seeded(work.seed), **work.arguments())

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


class Tuned(Stock):
    """The same, compiled: the script of someone who has read the tuning guides."""

    name = "tuned"

    def __init__(self, made: Any) -> None:
        denoiser = denoiser_of(made)
        denoiser.to(memory_format=torch.channels_last)
        made.vae.to(memory_format=torch.channels_last)
        mode = "reduce-overhead" if denoiser.device.type == "cuda" else None
        denoiser.compile(dynamic=False, mode=mode)
        made.vae.decoder.compile(dynamic=False, mode=mode)
        super().__init__(made)


class Static:
    """Static dynamic batching: what waits at one moment, up to eight of one kind, goes through the pipeline as a list."""

    name = "static"

    def __init__(self, made: Any) -> None:
        self._pipeline = made
        self._waiting: queue.SimpleQueue[tuple[Work, Future[None]] | None] = queue.SimpleQueue()
        self._left: list[tuple[Work, Future[None]]] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def make(self, work: Work) -> None:
        """Wait for a batch, then for its end."""
        done: Future[None] = Future()
        self._waiting.put((work, done))
        done.result()

    def close(self) -> None:
        """End the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while True:
            first = self._left.pop(0) if self._left else self._waiting.get()
            if first is None:
                return
            batch = self._collect(first)
            try:
                self._draw([work for work, _ in batch])
            except Exception as error:  # noqa: BLE001 - the callers raise it; without it they would wait for ever
                for _, done in batch:
                    done.set_exception(error)
            else:
                for _, done in batch:
                    done.set_result(None)

    def _collect(self, first: tuple[Work, Future[None]]) -> list[tuple[Work, Future[None]]]:
        """What goes with the first: the rest of an earlier wait, then what comes within the wait."""
        batch, kind = [first], first[0].arguments()
        for older in tuple(self._left):
            if older[0].arguments() == kind and len(batch) < STATIC_ROWS:
                self._left.remove(older)
                batch.append(older)
        end = time.monotonic() + STATIC_WAIT_SECONDS
        while len(batch) < STATIC_ROWS and (rest := end - time.monotonic()) > 0:
            try:
                newer = self._waiting.get(timeout=rest)
            except queue.Empty:
                break
            if newer is None:
                self._waiting.put(None)
                break
            (batch if newer[0].arguments() == kind else self._left).append(newer)
        return batch

    def _draw(self, works: list[Work]) -> None:
        generators = [seeded(work.seed) for work in works]
        self._pipeline([work.prompt for work in works], generator=generators, **works[0].arguments())


class Easel:
    """Easel's engine in this process."""

    name = "easel"

    def __init__(self, spec: ModelDeploymentSpec, threads: int) -> None:
        self.engine = Engine(spec, claims=Path("/nowhere"), threads=threads, retained_bytes=0)

    def make(self, work: Work, task: Task = Task.TEXT_TO_IMAGE, **fields: Any) -> list[tuple[float, Message]]:
        """All events with their times since the start; the last is the result."""
        ended, heard, started = threading.Event(), list[tuple[float, Message]](), time.perf_counter()

        def emit(message: Message) -> None:
            heard.append((time.perf_counter() - started, message))
            if message.is_last:
                ended.set()

        self.engine.submit(asked(work, task, **fields), Inputs(), emit)
        ended.wait()
        assert isinstance(heard[-1][1].event, Finished), heard[-1][1].event
        return heard

    def close(self) -> None:
        """End the engine."""
        self.engine.close()


def asked(work: Work, task: Task = Task.TEXT_TO_IMAGE, **fields: Any) -> GenerationRequest:
    """The engine's request for it."""
    return GenerationRequest(
        id="bench",
        task=task,
        prompt=work.prompt,
        seed=work.seed,
        width=work.width,
        height=work.height,
        steps=work.steps,
        guidance_scale=work.guidance,
        encoding="gif" if TAKES[task].video else "png",
        **fields,
    )


class Triton:
    """The same engine behind the real tritonserver, by gRPC."""

    name = "triton"

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def make(self, work: Work) -> None:
        """One stream for the request, as the worker opens one."""
        import tritonclient.grpc as triton

        from easel_inference.serving import wire

        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client = triton.InferenceServerClient(self._endpoint)
        client.start_stream(lambda result, error: answers.put((result, error)))
        tensors = []
        for name, value in wire.encode_request(asked(work), Inputs()).items():
            tensor = triton.InferInput(name, list(value.shape), wire.DATATYPE)
            tensor.set_data_from_numpy(value)
            tensors.append(tensor)
        client.async_stream_infer(wire.MODEL_NAME, tensors, model_version=wire.MODEL_VERSION)
        while True:
            result, error = answers.get()
            if error is not None:
                raise error
            message = wire.decode_message(result.as_numpy(wire.EVENT), result.as_numpy(wire.PAYLOAD))
            if message.is_last:
                assert isinstance(message.event, Finished), message.event
                break
        client.stop_stream()
        client.close()

    def close(self) -> None:
        """The server belongs to its context."""
