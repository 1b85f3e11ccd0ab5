"""Servers of the OpenAI API as they are, imitated: each has the manners of its kind.

All know the answer where the message holds "answer=<label>;", so that a client without faults
reaches an accuracy of 1.
"""

from __future__ import annotations

import json
import re
import threading
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIKELY, UNLIKELY = -0.25, -4.0


def truth(text):
    """The answer that a text gives away; of several the last."""
    found = re.findall(r"answer=(.*?);", text, re.DOTALL)
    return found[-1] if found else "hello"


def nearest(said, choices):
    """What a grammar makes of an answer: itself, or the first choice."""
    return said if said in choices else choices[0]


def first_logprobs(text, body, most):
    """The first token, and what else could have stood there."""
    likely = [(text[:3], -0.2), *((f"{chr(97 + i)}q", -4.0 - i) for i in range(20))]
    shown = likely[: min(body.get("top_logprobs", 0), most)]
    tops = [{"token": token, "logprob": value, "bytes": None} for token, value in shown]
    return [{"token": text[:3], "logprob": -0.2, "bytes": None, "top_logprobs": tops}]


def pieces(text):
    """(id, text) of tokens: words of ASCII with the space before them, else single bytes, which
    have no text of their own."""
    found = []
    for part in re.findall(r" ?[A-Za-z0-9_=;:.,<|>]+|\s|.", text, re.DOTALL):
        if part.isascii():
            found.append((1000 + zlib.crc32(part.encode()) % 10**6, part))
        else:
            found += [(byte, "\ufffd") for byte in part.encode()]
    return found


class Imitation(BaseHTTPRequestHandler):
    """A plain server that chats and does nothing else."""

    protocol_version = "HTTP/1.1"
    root = "/v1"
    asked: list = []  # noqa: RUF012 - each server has its own
    holds: tuple = ()  # parameters that hold an answer to a list
    tops = 0  # likely first tokens that it tells

    def do_GET(self):
        self.send(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.split("?")[0].removeprefix(self.root)
        self.body = body
        with self.server.lock:
            self.asked.append((path, body))
            self.count = len(self.asked)
        if path == "/chat/completions":
            self.chat(body)
        elif path == "/completions":
            self.completion(body)
        else:
            self.refuse(404, "no such route")

    def chat(self, body):
        choices = [self.choice(i, self.says(body)) for i in range(body.get("n", 1))]
        self.reply(choices)

    def completion(self, body):
        self.refuse(404, "no such route")

    def says(self, body):
        said = truth(body["messages"][-1]["content"])
        if "structured_outputs" in self.holds and "structured_outputs" in body:
            return nearest(said, body["structured_outputs"]["choice"])
        if "guided_choice" in self.holds and "guided_choice" in body:
            return nearest(said, body["guided_choice"])
        form = body.get("response_format") if "response_format" in self.holds else None
        field = form["json_schema"]["schema"]["properties"].get("answer", {}) if form else {}
        if "enum" in field:
            return json.dumps({"answer": nearest(said, field["enum"])})
        return self.free(said)

    def free(self, said):
        """What it writes where nothing holds it."""
        return said

    def choice(self, index, content, **more):
        message = {"role": "assistant", "content": content, **more}
        told = {}
        if self.tops and self.body.get("logprobs") and isinstance(content, str):
            told["logprobs"] = {"content": first_logprobs(content, self.body, self.tops)}
        return {"index": index, "message": message, "finish_reason": "stop", **told}

    def reply(self, choices, **more):
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        self.send(200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m",
                        "choices": choices, "usage": usage, **more})  # fmt: skip

    def refuse(self, status, message, **more):
        self.send(status, {"error": {"message": message, "type": "invalid_request_error", **more}})

    def send(self, code, body, headers=(), *, cut=None):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw[:cut])
        self.close_connection = cut is not None

    def log_message(self, *args):
        pass


class OpenAI(Imitation):
    """This year's: its newest models refuse three parameters and any that it does not know, and it
    wants to be asked slowly."""

    holds = ("response_format",)
    tops = 20

    def chat(self, body):
        for name in ("structured_outputs", "guided_choice"):
            if name in body:
                return self.refuse(400, f"Unrecognized request argument supplied: {name}")
        if "max_tokens" in body:
            return self.refuse(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead.",
                param="max_tokens",
                code="unsupported_parameter",
            )
        if body.get("temperature", 1) != 1:
            return self.refuse(
                400,
                "Unsupported value: 'temperature' does not support 0.0 with this model. Only the "
                "default (1) value is supported.",
                param="temperature",
                code="unsupported_value",
            )
        if "stop" in body:
            return self.refuse(400, "Unsupported parameter: 'stop' is not supported with this "
                               "model.", param="stop", code="unsupported_parameter")  # fmt: skip
        if self.count % 9 == 0:
            error = {"message": "Rate limit reached for m", "code": "rate_limit_exceeded"}
            return self.send(429, {"error": error}, [("retry-after-ms", "30")])
        return super().chat(body)


class Echoing(Imitation):
    """A server that scores given text. A token of the answer is likely."""

    offsets = "right"
    knows_ids = True
    template = "<|im_start|>{role}\n{content}<|im_end|>\n"
    opening = ""  # what stands before every prompt, one special token

    def scored(self, text):
        wanted = {token for token, _ in pieces(truth(text)) + pieces(" " + truth(text))}
        found = [(token, shown, LIKELY if token in wanted else UNLIKELY)
                 for token, shown in pieces(text)]  # fmt: skip
        if self.opening:
            found.insert(0, (1, self.opening, UNLIKELY))
        return found

    def completion(self, body):
        text = body["prompt"]
        found = [*self.scored(text), (2, " x", -1.5)]
        by_id = self.knows_ids and body.get("return_tokens_as_token_ids")
        names = [f"token_id:{token}" if by_id else shown for token, shown, _ in found]
        values = [None, *(value for _, _, value in found[1:])]
        offsets, place = [], 0
        for _, shown, _ in found:
            offsets.append(place if self.offsets == "right" else -1)
            place += len(shown)
        logprobs = {
            "tokens": names,
            "token_logprobs": values,
            "text_offset": offsets,
            "top_logprobs": [None, *({n: v} for n, v in zip(names[1:], values[1:], strict=True))],
        }
        if not body.get("echo"):
            logprobs = {name: listed[-1:] for name, listed in logprobs.items()}
            text = ""
        choice = {"index": 0, "text": text + " x", "logprobs": logprobs, "finish_reason": "length"}
        usage = {"prompt_tokens": len(found) - 1, "completion_tokens": 1}
        self.send(200, {"id": "1", "object": "text_completion", "created": 0, "model": "m",
                        "choices": [choice], "usage": usage})  # fmt: skip


class VLLM(Echoing):
    """Scores chats under its template; offsets are off by a special token and by bytes."""

    opening = "<s>"
    holds = ("structured_outputs", "response_format")
    tops = 20

    def chat(self, body):
        if "prompt_logprobs" not in body:
            return super().chat(body)
        turns = body["messages"]
        text = "".join(self.template.format(**turn) for turn in turns)
        if body.get("continue_final_message"):
            text = text.removesuffix("<|im_end|>\n")
        if body.get("add_generation_prompt", True):
            text += "<|im_start|>assistant\n"
        found = [
            {str(token): {"logprob": value, "rank": 1, "decoded_token": shown}}
            for token, shown, value in self.scored(text)
        ]
        return self.reply([self.choice(0, "x")], prompt_logprobs=[None, *found[1:]])


class OldVLLM(VLLM):
    """Of last year: guided decoding under another name, and nothing echoed."""

    holds = ("guided_choice",)

    def chat(self, body):
        return Imitation.chat(self, body)

    def completion(self, body):
        self.refuse(400, "echo is not supported")


class SGLang(Echoing):
    """Scores plain text only, and gives no offsets."""

    offsets = "none"
    knows_ids = False
    holds = ("response_format",)
    tops = 5


class Ollama(Imitation):
    """Ignores `echo`, `logprobs` and `n`; a thinking model thinks in the text."""

    holds = ("response_format",)

    def chat(self, body):
        thought = "<think>\nIt may be delivery, or billing.\n</think>\n\n"
        self.reply([self.choice(0, thought + self.says(body))])

    def completion(self, body):
        choice = {"index": 0, "text": "Sure!", "finish_reason": "length"}
        self.send(200, {"id": "1", "object": "text_completion", "choices": [choice]})


class LlamaCpp(Imitation):
    """Refuses more than one choice; of plain text it scores what it generated."""

    holds = ("response_format",)
    tops = 20

    def chat(self, body):
        if body.get("n", 1) > 1:
            return self.refuse(400, "Only one completion choice is allowed")
        return self.reply([self.choice(0, self.says(body))], timings={"predicted_ms": 1.0})

    def completion(self, body):
        logprobs = {"tokens": [" x"], "token_logprobs": [-1.5], "text_offset": [0],
                    "top_logprobs": [{" x": -1.5}]}  # fmt: skip
        choice = {"index": 0, "text": " x", "logprobs": logprobs, "finish_reason": "length"}
        self.send(200, {"id": "1", "object": "text_completion", "choices": [choice],
                        "usage": {"prompt_tokens": 5, "completion_tokens": 1}})  # fmt: skip


class LMStudio(Imitation):
    """Says with status 200 that a route is not there, and counts no tokens."""

    holds = ("response_format",)

    def chat(self, body):
        if self.count % 11 == 0:
            return self.send(200, {"error": "The model has crashed without additional information"})
        return self.send(200, {"choices": [self.choice(0, self.says(body))], "usage": None})

    def completion(self, body):
        self.send(200, {"error": "Unexpected endpoint or method. (POST /v1/completions)"})


class TGI(Imitation):
    """Refuses a temperature of 0, and ends texts for reasons of its own; it knows another form of
    `response_format`, and five likely tokens at most."""

    tops = 5

    def chat(self, body):
        if body.get("response_format", {}).get("type") == "json_schema":
            words = "Failed to deserialize: response_format: unknown variant `json_schema`"
            return self.send(422, {"error": words, "error_type": "validation"})
        if body.get("top_logprobs", 0) > self.tops:
            words = "Input validation error: `top_n_tokens` must be <= 5"
            return self.send(422, {"error": words, "error_type": "validation"})
        if body.get("temperature") == 0:
            words = "Input validation error: `temperature` must be strictly positive"
            return self.send(422, {"error": words, "error_type": "validation"})
        choice = self.choice(0, self.says(body))
        return self.reply([{**choice, "finish_reason": "eos_token"}])

    def completion(self, body):
        self.send(422, {"error": "Input validation error: `echo` is unknown",
                        "error_type": "validation"})  # fmt: skip


class Azure(Imitation):
    """A deployment with the version in the address, a key in its own header, and a filter."""

    root = "/openai/deployments/m"
    holds = ("response_format",)
    tops = 20

    def do_POST(self):
        if "api-version=" not in self.path or not self.headers.get("api-key"):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send(404, {"error": {"code": "404", "message": "Resource not found"}})
            return
        super().do_POST()

    def chat(self, body):
        if "cursed" in body["messages"][-1]["content"]:
            words = ("The response was filtered due to the prompt triggering Azure OpenAI's "
                     "content management policy.")  # fmt: skip
            return self.refuse(400, words, code="content_filter")
        if self.count == 7:
            return self.send(503, b"<html><body><h1>503 Service Unavailable</h1></body></html>")
        results = [{"prompt_index": 0, "content_filter_results": {}}]
        return self.reply([self.choice(0, self.says(body))], prompt_filter_results=results)


class Mistral(Imitation):
    """Refuses `seed`, and sends thoughts and answer as parts."""

    holds = ("response_format",)

    def chat(self, body):
        if "seed" in body:
            detail = [{"type": "extra_forbidden", "loc": ["body", "seed"],
                       "msg": "Extra inputs are not permitted"}]  # fmt: skip
            return self.send(422, {"detail": detail})
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "delivery?"}]}
        parts = [thought, {"type": "text", "text": self.says(body)}]
        return self.reply([self.choice(0, parts)])


KINDS = {
    "openai": OpenAI, "vllm": VLLM, "old-vllm": OldVLLM, "sglang": SGLang, "ollama": Ollama,
    "llama.cpp": LlamaCpp,
    "lm-studio": LMStudio, "tgi": TGI, "azure": Azure, "mistral": Mistral,
}  # fmt: skip


@contextmanager
def serving(kind, **attributes):
    """(address, handler) of a server of a kind, which `attributes` may change."""
    handler = type(kind.__name__, (kind,), {"asked": [], **attributes})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.lock = threading.Lock()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    query = "?api-version=2025-01-01" if issubclass(kind, Azure) else ""
    try:
        yield f"http://127.0.0.1:{server.server_port}{handler.root}{query}#m", handler
    finally:
        server.shutdown()
        server.server_close()
