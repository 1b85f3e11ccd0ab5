"""Inputs that are recordings: transcribed, told where nothing can be heard, counted, reported."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import luthier
from luthier.compare.options import Options
from luthier.errors import BackendError, ModelError, TaskError
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.report import render_html
from luthier.speech import Heard, Transcriber, open_transcriber, transcribe, word_errors
from luthier.speech.sound_file import RATE, UnusableSoundError, pieces_of, quiet_place
from luthier.speech.transcriber import DEFAULT
from luthier.task.task import Task
from luthier.testing import check_transcriber

soundfile = pytest.importorskip("soundfile")
pytestmark = pytest.mark.inputs
NEEDS_VOICE = pytest.mark.skipif(
    shutil.which("espeak-ng") is None,
    reason="espeak-ng speaks the test calls: apt install espeak-ng",
)
SECONDS = 0.6


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))


def tone(hertz=220.0, seconds=SECONDS, *, rate=RATE, loud=0.3):
    """Something like a voice: a tone with overtones, louder and quieter."""
    t = np.arange(round(seconds * rate)) / rate
    waves = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 6))
    return (loud * waves * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t)) / 2).astype(np.float32)


def noise(seconds=SECONDS, *, pink=False):
    white = np.random.default_rng(0).normal(size=round(seconds * RATE))
    if pink:
        bins = np.fft.rfft(white)
        white = np.fft.irfft(bins / np.sqrt(np.arange(len(bins)) + 1.0))
        white /= np.abs(white).max() / 3
    return (0.1 * white).astype(np.float32)


def spoken(text, path, voice="en-us+f2"):
    wide = path.with_suffix(".tmp.wav")
    subprocess.run(["espeak-ng", "-v", voice, "-s", "150", "-w", str(wide), text], check=True)
    samples, rate = soundfile.read(wide)
    wide.unlink()
    soundfile.write(path, samples, rate)
    return path


class ByPitch(Transcriber):
    """Hears which tone it is, to the nearest five hertz; counts how often it is asked."""

    name = identity = "by-pitch"

    def __init__(self, words=("low", "high")):
        self.words, self.asked = words, 0

    def hear(self, samples):
        self.asked += 1
        hertz = np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples)
        word = self.words[int(hertz > 400)]
        return f"{word} {5 * round(hertz / 5)}" if word else ""


@pytest.fixture
def ears(monkeypatch):
    """The transcriber of every task, in place of the usual one."""
    found = ByPitch()
    monkeypatch.setattr("luthier.task.recordings.open_transcriber", lambda name: found)
    return found


def calls(folder, count=24, **more):
    """A table of tones in three formats, beside `more` files by name."""
    rows = []
    for i in range(count):
        form = ("wav", "flac", "mp3")[i % 3]
        pitch = (200, 500)[i % 2] + 5 * i
        soundfile.write(folder / f"call-{i}.{form}", tone(pitch), RATE)
        said = f"{('low', 'high tone')[i % 2]} {pitch}"
        rows.append((f"call-{i}.{form}", ("calm", "angry")[i % 2], said))
    for name, content in more.items():
        path = folder / name.replace("_", ".")
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            soundfile.write(path, content, RATE)
        rows.append((path.name, "calm", "something"))
    with (folder / "calls.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "mood", "said"), *rows])
    return folder


def task_of(folder, **keys):
    settings = {"transcript": "said", "leaks": "keep", **keys}
    lines = [f"{name}: {json.dumps(value)}" for name, value in settings.items()]
    text = "instruction: The mood.\ndata: calls.csv\ninput: file\ntarget: mood\n"
    (folder / "task.yaml").write_text(text + "\n".join(lines))
    return Task.load(folder / "task.yaml")


def test_recordings_of_every_format_become_what_was_heard(tmp_path, ears):
    task = task_of(calls(tmp_path))
    examples = [*task.train, *task.dev, *task.test]
    assert len({e.input for e in examples}) == 24
    found = {(e.input.split()[0], e.target) for e in examples}
    assert found == {("low", "calm"), ("high", "angry")}
    heard = task.transcripts
    assert len(heard.recordings) == 24
    assert heard.seconds == pytest.approx(24 * SECONDS, rel=0.2)  # MP3 pads
    # "low 200" is right, "high 505" leaves out one of the three words of "high tone 505".
    assert heard.word_error_rate == pytest.approx(12 / 60)
    assert any("Word errors: 20.0 %" in note for note in task.notes)


def test_transcripts_of_the_test_split_are_not_in_what_a_fit_sees(tmp_path, ears):
    task = task_of(calls(tmp_path))
    seen = {r.split for r in task.without_test().transcripts.recordings}
    assert seen == {"train", "dev"}
    assert task.without_test().fingerprint == task.fingerprint


def test_a_file_is_heard_once_whatever_it_is_called(tmp_path, ears):
    task_of(calls(tmp_path))
    assert ears.asked == 24
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in tmp_path.glob("call*"):
        shutil.copy(path, moved / path.name)
    again = task_of(moved)
    assert ears.asked == 24
    assert again.fingerprint == task_of(tmp_path).fingerprint
    ears.identity = "another"
    task_of(tmp_path)
    assert ears.asked == 48


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("hush_wav", np.zeros(RATE, np.float32), "silence"),
        ("dither_flac", np.full(RATE, 2e-5, np.float32), "silence"),
        ("hiss_wav", noise(), "noise, and no speech"),
        ("rush_flac", noise(pink=True), "noise, and no speech"),
        ("torn_mp3", b"ID3\x04" + b"\x00" * 90, "cannot be read as sound"),
        ("text_wav", b"this is a text", "cannot be read as sound"),
        ("void_wav", b"", "the file is empty"),
        ("none_wav", np.zeros(0, np.float32), "no sound"),
        ("gone_wav", None, "no such file"),
    ],
)
def test_what_cannot_be_heard_is_told_and_left_out_on_demand(tmp_path, ears, name, content, words):
    calls(tmp_path, **{name: content})
    file = name.replace("_", ".")
    with pytest.raises(TaskError) as caught:
        task_of(tmp_path)
    assert f"{file}: " in str(caught.value)
    assert words in str(caught.value)
    assert "skip_empty" in str(caught.value)
    task = task_of(tmp_path, skip_empty=True)
    (fault,) = [r for r in task.transcripts.recordings if r.fault]
    assert words in fault.fault
    assert fault.example_id is None
    assert len(task.train) + len(task.dev) + len(task.test) == 24
    assert any(file in note and "Left out" in note for note in task.notes)


@pytest.mark.slow
def test_an_hour_is_heard_in_pieces_and_told(tmp_path, ears):
    calls(tmp_path)
    hour = np.concatenate([tone(seconds=3.0), np.zeros(RATE, np.float32)] * 900)
    soundfile.write(tmp_path / "hour.flac", hour, RATE)
    with (tmp_path / "calls.csv").open("a", newline="") as stream:
        csv.writer(stream).writerow(["hour.flac", "calm", "low"])
    task = task_of(tmp_path)
    (long,) = [r for r in task.transcripts.recordings if r.file == "hour.flac"]
    assert long.seconds == 3600
    pieces = long.transcript.split()
    assert pieces.count("low") == pieces.count("220") >= 120
    assert any("longer than 30 minutes: hour.flac (60 minutes)" in note for note in task.notes)


def test_pieces_are_cut_where_it_is_quiet_and_lose_nothing(tmp_path):
    sound = np.concatenate([tone(seconds=7), np.zeros(RATE, np.float32), tone(seconds=7)])
    soundfile.write(tmp_path / "long.wav", sound, RATE, subtype="FLOAT")
    pieces = list(pieces_of(tmp_path / "long.wav", 10.0))
    assert 7.0 <= len(pieces[0]) / RATE <= 8.0
    assert np.array_equal(np.concatenate(pieces), sound)
    assert quiet_place(sound[: 10 * RATE]) == len(pieces[0])


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_any_rate_and_two_channels_become_one_at_16_khz(tmp_path, rate):
    one = tone(300, 1.0, rate=rate)
    soundfile.write(tmp_path / "stereo.wav", np.stack([one, one], 1), rate)
    (found,) = pieces_of(tmp_path / "stereo.wav", 30.0)
    assert len(found) == pytest.approx(RATE, abs=2)
    peak = np.abs(np.fft.rfft(found)).argmax() * RATE / len(found)
    assert peak == pytest.approx(300, abs=2)


@pytest.mark.parametrize("form", ["flac", "mp3"])
def test_what_breaks_off_is_told(tmp_path, form):
    soundfile.write(tmp_path / f"whole.{form}", tone(seconds=20), RATE)
    whole = (tmp_path / f"whole.{form}").read_bytes()
    (tmp_path / f"half.{form}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnusableSoundError, match="breaks off"):
        list(pieces_of(tmp_path / f"half.{form}", 30.0))
    assert sum(map(len, pieces_of(tmp_path / f"whole.{form}", 30.0))) >= 20 * RATE


@pytest.mark.parametrize(
    ("heard", "given", "errors", "words"),
    [
        ("the cat sat", "The cat sat.", 0, 3),
        ("a cat sat on", "the cat sat", 2, 3),
        ("", "the cat sat", 3, 3),
        ("one two", "three", 2, 1),
        ("das Mädchen läuft", "Das Mädchen lief!", 1, 3),
        ("今天天气好", "今天天气很好", 1, 6),
        ("नमस्ते दुनिया", "नमस्ते, दुनिया", 0, 2),
        ("something", "", 1, 0),
    ],
)
def test_word_errors(heard, given, errors, words):
    found = word_errors(heard, given)
    assert (found.errors, found.words) == (errors, words)


def test_sound_file_names_that_are_no_files_stay_texts(tmp_path):
    rows = [(f"track-{i}.mp3", "ab"[i % 2]) for i in range(30)]
    (tmp_path / "calls.csv").write_text(
        "file,mood,said\n" + "\n".join(f"{name},{mood},x" for name, mood in rows)
    )
    task = task_of(tmp_path)
    assert task.transcripts is None
    assert task.train[0].input.startswith("track-")


def test_an_input_that_is_no_recording_is_told(tmp_path):
    calls(tmp_path)
    with (tmp_path / "calls.csv").open("a") as stream:
        stream.write("please call me,calm,x\n")
    with pytest.raises(TaskError, match="names no sound file"):
        task_of(tmp_path, transcribe="pocketsphinx")


@pytest.mark.parametrize("name", ["ears", "whisper", "endpoint", "folder/of/nothing"])
def test_an_unknown_transcriber_is_told_with_the_choices(tmp_path, name):
    with pytest.raises(TaskError) as caught:
        open_transcriber(name)
    assert "pocketsphinx" in caught.value.choices


def test_a_folder_of_another_model_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="'llama'"):
        open_transcriber(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(ModelError, match="cannot be opened"):
        open_transcriber(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match="holds no model"):
        open_transcriber(str(tmp_path))


@contextmanager
def transcribing(status=200, body=None):
    """A server's /audio/transcriptions; (address, what was uploaded)."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, raw))
            code = 429 if status == 429 and len(asked) == 1 else (200 if status == 429 else status)
            answer = json.dumps({"text": f" call {len(asked)} "} if body is None else body)
            answer = (body if isinstance(body, bytes) else answer.encode()) or b""
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1#whisper-large", asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_transcribes_and_is_asked_once(tmp_path):
    soundfile.write(tmp_path / "a.mp3", tone(), RATE)
    with transcribing() as (address, asked):
        check_transcriber(ByPitch())
        ears = open_transcriber(address)
        assert transcribe([tmp_path / "a.mp3"], ears)[0].text == "call 1"
        assert transcribe([tmp_path / "a.mp3"], ears)[0].text == "call 1"
    ((path, raw),) = asked
    assert path == "/v1/audio/transcriptions"
    assert b"whisper-large" in raw
    assert b"fLaC" in raw


def test_a_server_that_wants_patience_gets_it(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    with transcribing(429) as (address, asked):
        assert transcribe([tmp_path / "a.wav"], open_transcriber(address))[0].text == "call 2"
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, {"error": {"message": "no such route"}}, "no such route"),
        (400, {"error": {"message": "audio too short"}}, "audio too short"),
        (200, {"task": "transcribe"}, "no transcript"),
        (200, {"text": None}, "no transcript"),
        (200, b"<html>hello</html>", "API"),
    ],
)
def test_a_server_that_sends_no_transcript_is_told(tmp_path, status, body, words):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    with transcribing(status, body) as (address, _), pytest.raises(BackendError, match=words):
        transcribe([tmp_path / "a.wav"], open_transcriber(address))


def test_silence_never_reaches_a_transcriber(tmp_path):
    sound = np.concatenate([tone(seconds=5), np.zeros(12 * RATE, np.float32), tone(seconds=5)])
    soundfile.write(tmp_path / "a.wav", sound, RATE)
    ears = ByPitch()
    ears.piece_seconds = 6.0
    (found,) = transcribe([tmp_path / "a.wav"], ears)
    assert found.text.split() == ["low", "220"] * ears.asked
    assert ears.asked < 4


def test_nothing_understood_is_told(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    (found,) = transcribe([tmp_path / "a.wav"], ByPitch(("", "")))
    assert found == Heard("", pytest.approx(SECONDS), "no words were understood")


def test_a_comparison_of_recordings_reports_what_was_heard(tmp_path, ears):
    calls(tmp_path, hush_wav=np.zeros(RATE, np.float32))
    task = task_of(tmp_path, skip_empty=True)
    model = Model(FakeBackend())
    options = Options(references=False)
    out = tmp_path / "run"
    found = luthier.compare(
        task, model, techniques="zero-shot", budget="20ktok", seeds=1, out=out, options=options
    )
    shown = found.to_json()["recordings"]
    assert shown["recordings"] == 25
    assert shown["without_transcript"] == 1
    assert shown["word_error_rate"] == pytest.approx(12 / 60)
    kept = [json.loads(line) for line in (out / "transcripts.jsonl").read_text().splitlines()]
    assert {row["transcript"].split(" ")[0] for row in kept} == {"low", "high", ""}
    assert luthier.Comparison.load(out).task.transcripts == found.task.transcripts
    page = render_html(found)
    assert 'id="recordings"' in page
    assert "hush.wav" in page
    assert "1 of 3" in page


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A very small Whisper that learnt to tell two tones apart."""
    import torch
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    folder = tmp_path_factory.mktemp("whisper")
    letters = [chr(c) for c in range(ord("!"), ord("~") + 1)] + ["Ġ"]
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>",
               "<|translate|>", "<|notimestamps|>"]  # fmt: skip
    tokenizer = WhisperTokenizer(
        vocab={token: i for i, token in enumerate([*letters, *special])}, merges=[],
        bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>",
        pad_token="<|endoftext|>", additional_special_tokens=special[1:],
    )  # fmt: skip
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    end, begin = tokenizer.convert_tokens_to_ids(special[:2])
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=16, d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_source_positions=100, max_target_positions=24, dropout=0.0,
        pad_token_id=end, bos_token_id=end, eos_token_id=end, decoder_start_token_id=begin,
        begin_suppress_tokens=None, suppress_tokens=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    pitches, words = (200.0, 230.0, 500.0, 560.0), ("low", "low", "high", "high")
    features = extractor([tone(p) for p in pitches], sampling_rate=RATE, return_tensors="pt")
    rows = [[begin, *tokenizer(w, add_special_tokens=False).input_ids, end] for w in words]
    width = max(map(len, rows))
    ids = torch.tensor([row + [end] * (width - len(row)) for row in rows])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(80):
        out = model(features.input_features, decoder_input_ids=ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(out.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.generation_config.max_new_tokens = 12
    model.save_pretrained(folder)
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_folder_of_whisper_transcribes_offline(tmp_path, whisper):
    soundfile.write(tmp_path / "low.wav", tone(215), RATE)
    soundfile.write(tmp_path / "high.mp3", tone(530), RATE)
    ears = open_transcriber(str(whisper))
    heard = transcribe([tmp_path / "low.wav", tmp_path / "high.mp3"], ears)
    assert [h.text for h in heard] == ["low", "high"]
    assert ears.piece_seconds == 2.0
    check_transcriber(ears)
    assert open_transcriber(str(whisper)).identity == ears.identity


@pytest.mark.slow
@NEEDS_VOICE
def test_pocketsphinx_understands_a_spoken_call(tmp_path):
    pytest.importorskip("pocketsphinx")
    said = "The washing machine is broken and there is water on the floor."
    path = spoken(said, tmp_path / "call.flac", "en-us+f5")
    (heard,) = transcribe([path], open_transcriber(DEFAULT))
    assert heard.fault is None
    check_transcriber(open_transcriber(DEFAULT))
    found = word_errors(heard.text, said)
    assert found.errors / found.words < 0.5
    assert "machine" in heard.text


@pytest.mark.slow
@NEEDS_VOICE
def test_ask_takes_a_recording(tmp_path, capsys):
    from luthier.cli.main import run

    pytest.importorskip("pocketsphinx")
    path = spoken("The washing machine is broken.", tmp_path / "call.wav")
    assert run(["ask", "fake", str(path), "--json"]) == 0
    shown = capsys.readouterr()
    assert "heard: " in shown.err
    assert "answer" in json.loads(shown.out)
    soundfile.write(tmp_path / "hush.wav", np.zeros(RATE), RATE)
    assert run(["ask", "fake", str(tmp_path / "hush.wav")]) == 2
    assert "silence" in capsys.readouterr().err


def test_without_espeak_the_example_says_what_to_install(monkeypatch):
    from tests.test_examples_load import EXAMPLES

    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(TaskError) as caught:
        Task.load(EXAMPLES / "call-recordings.yaml", allow_code=True)
    assert "espeak-ng" in str(caught.value)
    assert "apt install espeak-ng" in caught.value.choices
