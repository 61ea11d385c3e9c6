"""Trains a network on generated songs; goes on from the run's last checkpoint, if it has one.

    python -m training train DATA RUN --config mini --minutes 60

RUN gets checkpoint.pt, often, and log.jsonl: a line for each report and each validation.
"""

import json
import math
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from . import checkpoint, dataset, licences, loss, material, metrics, network, replicas
from .audio import SOURCES
from .recordings import Recordings

REPORT_EVERY = 15  # seconds


def quick_at_bfloat16(device):
    return device.type == "cuda" or torch.cpu.get_capabilities().get("avx512_bf16", False)


def weights(model):
    """A copy of them."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


class Training:
    """A network, its optimizer and its moving average, at some step."""

    def __init__(self, config, device):
        self.config, self.device, self.step, self.seconds = config, device, 0, 0.0
        self.before = 0  # steps of the training whose weights this one began with
        self.options, self.bfloat16 = config["training"], quick_at_bfloat16(device)
        self.model = network.build(config).to(device).train()
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=self.options["learning_rate"], betas=(0.9, 0.99), fused=True
        )
        self.average = weights(self.model)

    def learning_rate(self):
        """Linear warm-up, then half a cosine down to a fiftieth."""
        warm = min(1, (self.step + 1) / self.options["warm_up"])
        progress = min(1, self.step / self.options["steps"])
        return self.options["learning_rate"] * warm * (0.02 + 0.49 * (1 + math.cos(math.pi * progress)))

    def gradient(self, model, batch):
        """Leaves the gradient of the loss on a batch of `dataset` in `model`, and gives the loss.

        The layers compute in bfloat16 where the device is quick at it; Demucs scales their output by a
        float32 tensor, so that its inverse STFT is in float32 again.
        """
        stems, parted = (each.to(self.device, non_blocking=True) for each in batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            estimate = model(stems.sum(1))
        value, waveform = loss.total(estimate, stems, parted, self.options)
        model.zero_grad(set_to_none=True)
        value.backward()
        return {"loss": value.detach(), "waveform": waveform.detach()}

    def update(self):
        """One step along the gradient that lies in the network."""
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options["clip"])
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        self._update_average()
        return {"gradient": norm.detach(), "rate": rate}

    @torch.no_grad()
    def _update_average(self):
        """An exponential moving average, that forgets its random begin sooner."""
        keep = min(self.options["ema"], (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - keep)

    @torch.no_grad()
    def validate(self, crops, segment):
        """The averaged network on [n, 4, 2, frames]: mean L1, and the median SI-SDR of each stem."""
        live = weights(self.model)
        self.model.load_state_dict(self.average)
        self.model.eval()
        self.model.segment = segment
        estimates = torch.cat([self.model(each.sum(1).to(self.device)).float().cpu() for each in crops.split(4)])
        self.model.load_state_dict(live)
        self.model.train()
        scores = {}
        for number, source in enumerate(SOURCES):
            pairs = [(stems[number].numpy(), estimate[number].numpy()) for stems, estimate in zip(crops, estimates)]
            heard = [metrics.si_sdr(*pair) for pair in pairs if metrics.audible(pair[0])]
            scores[source] = round(float(np.median(heard)), 3) if heard else None
        return {"valid_l1": float((estimates - crops).abs().mean()), "valid_si_sdr": scores}

    def begin_with(self, published, steps):
        self.model.load_state_dict(network.grown(published, self.model))
        self.average = weights(self.model)
        self.before = steps

    def contents(self, about):
        return {
            "config": self.config, "step": self.step, "before": self.before, "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average, "optimizer": self.optimizer.state_dict(),
            "random": checkpoint.random_states(self.device), "about": about,
        }

    def restore(self, contents):
        self.step, self.before, self.seconds = contents["step"], contents["before"], contents["seconds"]
        self.model.load_state_dict(contents["model"])
        self.average = {name: value.to(self.device) for name, value in contents["average"].items()}
        self.optimizer.load_state_dict(contents["optimizer"])
        checkpoint.restore_random_states(contents["random"], self.device)


class Log:
    """JSON lines, in a file and on stderr."""

    def __init__(self, run, training):
        self.file, self.training = open(run / "log.jsonl", "a"), training
        self.values, self.since = [], time.time()

    def add(self, values):
        self.values.append(values)
        if time.time() - self.since > REPORT_EVERY:
            self.report()

    def report(self):
        if not self.values:
            return
        names = ("loss", "waveform", "gradient")
        means = {name: float(np.mean([float(each[name]) for each in self.values])) for name in names}
        speed = len(self.values) / (time.time() - self.since)
        self.write(means | {"rate": self.values[-1]["rate"], "steps_per_second": speed})
        self.values, self.since = [], time.time()

    def write(self, values):
        values = {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in values.items()}
        line = json.dumps({"step": self.training.step, "seconds": round(self.training.seconds)} | values)
        print(line, file=self.file, flush=True)
        print(line, file=sys.stderr, flush=True)


def add_arguments(parser):
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--config", default="mini", help="a name in configs/, or a file")
    parser.add_argument("--start", type=Path, metavar="FILE", help="an exported file, to begin a new run with")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long; a later call goes on")
    parser.add_argument("--steps", type=int, help="how many there are in all, instead of the config's")
    parser.add_argument("--until", type=int, help="stop at this step, which may be before the last")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2, help="that read songs, and train on a CPU (see replicas.py)")


def _begin(args):
    """(training, what is known of its data)"""
    config, device = network.load_config(args.config), torch.device(args.device)
    if args.steps:
        config["training"]["steps"] = args.steps
    earlier = checkpoint.load(args.run, device)
    if earlier and earlier["config"]["network"] != config["network"]:
        sys.exit(f"train: {args.run} holds a training of another network")
    training = Training(config, device)
    if earlier:
        training.restore(earlier)
    elif args.start:
        _start(training, args.start)
    rows = json.loads((args.data / "licences.json").read_text())
    return training, {"licences": rows, "statement": licences.statement(rows)}


def _start(training, file):
    try:
        training.begin_with(*network.published(file))
    except (ValueError, RuntimeError) as error:
        sys.exit(f"train: cannot begin with {file}: {error}")


def run(args):
    material.require(material.missing_recordings())
    torch.set_num_threads(args.threads)
    args.run.mkdir(parents=True, exist_ok=True)
    training, about = _begin(args)
    segment = network.options(training.config)["segment"]
    count = int(segment * training.model.samplerate)
    songs = dataset.Songs(args.data, "train")
    crops = dataset.validation(dataset.Songs(args.data, "valid"), count, training.options["validation_crops"])
    about |= {"songs": len(songs), "hours": round(dataset.seconds(songs) / 3600, 3)}
    log = Log(args.run, training)
    log.write({"parameters": network.parameters(training.model), "device": args.device, "hours": about["hours"]})
    mixer = dataset.Mixer(songs, Recordings(), count, training.config["augmentation"])
    _loop(args, training, mixer, crops, segment, log, about)


def _loop(args, training, mixer, crops, segment, log, about):
    options, seed = training.options, training.config["seed"]
    last = min(options["steps"], args.until or options["steps"])
    stopped = _until_told()
    began, before = time.time(), training.seconds
    if training.step == 0:
        log.write(training.validate(crops, segment))
    # A run that begins with another's weights has batches that the other has not had.
    first = training.before + training.step
    batches = dataset.batches(mixer, seed, first, options["batch"], args.threads)
    copies = args.threads if args.device == "cpu" else 1
    for values in replicas.gradients(training.model, batches, copies, training.gradient):
        enough = time.time() - began > 60 * args.minutes or stopped()
        if training.step >= last or enough:
            break
        values |= training.update()
        training.seconds = before + time.time() - began
        log.add(values)
        if training.step % options["validate_every"] == 0:
            log.report()
            log.write(training.validate(crops, segment))
        if training.step % options["checkpoint_every"] == 0:
            checkpoint.save(args.run, training.contents(about))
    log.report()
    log.write(training.validate(crops, segment))
    checkpoint.save(args.run, training.contents(about))


def _until_told():
    """Whether SIGTERM or SIGINT came: then the step at hand is finished and saved."""
    told = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.append(True))
    return lambda: bool(told)
