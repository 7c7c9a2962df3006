"""Training in small: the written encoder, a resumed course, and the folder that comes out."""

import copy
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from housemodel import weights_folder  # noqa: E402  # only where torch is
from housemodel.dataset import held_out, make_scenes  # noqa: E402
from housemodel.parts import build_autoencoder, build_denoiser, build_text_encoder  # noqa: E402
from housemodel.scenes import draw, random_scene  # noqa: E402
from housemodel.tokens import MOST_TOKENS, build_tokenizer  # noqa: E402
from housemodel.train import ABOUT, OtherPlanError, begin, export, plan_way  # noqa: E402
from housemodel.train_denoiser import Course, Denoising, Plan, rate_at, train_denoiser  # noqa: E402
from housemodel.train_text import tokenize  # noqa: E402


def test_the_encoder_is_exactly_the_box_average_and_one_haar_level():
    data = make_scenes(6, seed=3)
    rng = np.random.default_rng(3)
    scenes = [random_scene(rng) for _ in range(6)]
    pictures = np.stack([np.asarray(draw(scene, 64, rng), dtype=np.float32) for scene in scenes])
    # doubling the pixels changes no average: the 128 px encoder must find the latents of the 64 px picture
    doubled = torch.from_numpy(pictures.repeat(2, axis=1).repeat(2, axis=2) / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = build_autoencoder().encode(doubled).latents
    assert found.shape == (6, 12, 8, 8)
    assert float((found - data.latents).abs().max()) < 1e-5


def test_a_training_that_was_interrupted_ends_where_an_unbroken_one_does(tmp_path: Path):
    tokenizer = build_tokenizer()
    data = make_scenes(8, seed=1)
    torch.manual_seed(0)
    begun = Denoising(build_text_encoder(tokenizer), build_denoiser())
    plan = Plan(steps=2, batch=2, save_every=1, warm_up=1)

    unbroken = Course(copy.deepcopy(begun), plan, None)
    train_denoiser(unbroken, data, tokenizer, lambda *_: None)

    file = tmp_path / "course.pt"

    def killed(step: int, _: float) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_denoiser(Course(copy.deepcopy(begun), plan, file), data, tokenizer, killed)
    resumed = Course(copy.deepcopy(begun), plan, file)
    assert resumed.step == 1
    train_denoiser(resumed, data, tokenizer, lambda *_: None)

    for mine, theirs in zip(resumed.average.parameters(), unbroken.average.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_rate_warms_up_stays_and_falls():
    plan = Plan(steps=1000, warm_up=100)
    rates = [rate_at(step, plan) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[100:500] == [1.0] * 400
    assert rates[500:] == sorted(rates[500:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_writing_the_weights_anew_keeps_what_the_house_says_about_them(tmp_path: Path):
    tokenizer, out = build_tokenizer(), tmp_path / "weights"
    out.mkdir()
    (out / ABOUT).write_text("{}")
    (out / "left over").write_text("")
    export(out, tokenizer, build_text_encoder(tokenizer), build_denoiser(), build_autoencoder())
    assert (out / ABOUT).read_text() == "{}"
    assert (out / "model_index.json").is_file()
    assert not (out / "left over").exists()


def test_the_shipped_tokenizer_is_the_one_that_the_words_make():
    from transformers import CLIPTokenizer

    shipped = CLIPTokenizer.from_pretrained(weights_folder() / "tokenizer")
    built = build_tokenizer()
    captions = [said for _, said in held_out(100)] + ["a fox 🦊 über Straße, zxqv", ""]
    assert tokenize(shipped, captions).equal(tokenize(built, captions))


def test_no_caption_of_the_house_is_cut_and_unknown_words_fall_apart():
    tokenizer = build_tokenizer()
    longest = max(len(tokenizer(said).input_ids) for _, said in held_out(500))
    assert longest <= MOST_TOKENS
    assert len(tokenizer.tokenize("zxqv")) > 1
    assert len(tokenizer("word " * 300, truncation=True).input_ids) == MOST_TOKENS


def train_in_a_process(out: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "housemodel.train", "--quick", "--out", str(out)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def kill_once_there_is(file: Path, running: "subprocess.Popen[str]") -> None:
    while not file.exists() and running.poll() is None:
        time.sleep(0.05)
    assert file.exists()
    running.kill()
    running.communicate()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_whole_chain_killed_near_its_end_ends_in_the_same_weights(tmp_path: Path):
    unbroken = train_in_a_process(tmp_path / "unbroken")
    said, _ = unbroken.communicate()
    assert unbroken.returncode == 0, said
    assert "denoiser [########################] 8/8" in said
    assert "decoder 8/8" in said

    broken = tmp_path / "broken"
    kill_once_there_is(tmp_path / "broken.work" / "decoder.pt", train_in_a_process(broken))
    assert not broken.exists()
    last = train_in_a_process(broken)
    said, _ = last.communicate()
    assert last.returncode == 0, said

    files = sorted(file.relative_to(broken) for file in broken.rglob("*.safetensors"))
    assert len(files) == 3
    assert [file for file in files if (broken / file).read_bytes() != (tmp_path / "unbroken" / file).read_bytes()] == []


def test_a_work_folder_of_other_settings_is_refused(tmp_path: Path):
    begin(tmp_path, plan_way(7, 10, None, quick=False))
    begin(tmp_path, plan_way(7, 10, None, quick=False))
    with pytest.raises(OtherPlanError, match="other settings"):
        begin(tmp_path, plan_way(8, 10, None, quick=False))
