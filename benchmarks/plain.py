"""The plain baseline: HAN as public research code on this task is usually written, for comparison of speed.

Written from scratch, in that style, for CPU: three ``np.load`` an item, in one worker; all 80 ResNet rows through the
Linear and pooled behind it; ``nn.MultiheadAttention`` called once a modality; a loss whose value is waited for in
every step; evaluation with batch size 1; scores, and pseudo labels, by loops over videos and events. It computes what
``avvp_pl`` does (held by ``tests/benchmarks/test_plain.py``), so that a ratio of times compares like with like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import faiss
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from avvp_pl.data.videos import VideoSet

Array: TypeAlias = npt.NDArray[np.float32]
Sample: TypeAlias = dict[str, Tensor]
Loader: TypeAlias = "DataLoader[Sample]"

STREAMS = {"audio": "vggish", "image": "res152", "motion": "r2plus1d_18"}
ROWS_A_SEGMENT = {"vggish": 1, "res152": 8, "r2plus1d_18": 1}


# Data


class PlainVideos(Dataset[Sample]):
    """Videos as one ``.npy`` a stream and video, read again each time."""

    def __init__(self, folder: Path, names: Sequence[str], labels: Sequence[Sequence[int]], num_events: int) -> None:
        self.folder, self.names, self.labels, self.num_events = folder, names, labels, num_events

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        label = np.zeros(self.num_events, dtype=np.float32)
        for event in self.labels[index]:
            label[event] = 1
        sample = {key: np.load(f"{self.folder}/{stream}/{name}.npy") for key, stream in STREAMS.items()}
        return {key: torch.from_numpy(array) for key, array in (sample | {"label": label}).items()}


def write_npy(videos: VideoSet, folder: Path) -> PlainVideos:
    """The same videos as files below ``folder``, ResNet features in their published form of 8 rows a second."""
    for stream, rows in ROWS_A_SEGMENT.items():
        (folder / stream).mkdir(parents=True)
        for name, features in zip(videos.names, videos.padded(videos.streams[stream]), strict=True):
            np.save(folder / stream / f"{name}.npy", np.repeat(features.numpy(), rows, axis=0))
    labels = [row.nonzero().flatten().tolist() for row in videos.weak_labels]
    return PlainVideos(folder, videos.names, labels, videos.weak_labels.shape[1])


# Network


class PlainLayer(nn.Module):
    """The hybrid attention of one modality to itself and to the other."""

    def __init__(self, dim: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(dim, 1, dropout=dropout)
        self.cross_attention = nn.MultiheadAttention(dim, 1, dropout=dropout)
        self.expand, self.contract = nn.Linear(dim, feedforward_dim), nn.Linear(feedforward_dim, dim)
        self.norm_attention, self.norm_feedforward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """[B, T, D] of each modality to [B, T, D] of the first."""
        own, other = own.permute(1, 0, 2), other.permute(1, 0, 2)
        crossed = self.cross_attention(own, other, other)[0]
        attended = self.self_attention(own, own, own)[0]
        own = self.norm_attention(own + self.dropout(crossed) + self.dropout(attended))
        fed = self.contract(self.dropout(F.relu(self.expand(own))))
        out: Tensor = self.norm_feedforward(own + self.dropout(fed))
        return out.permute(1, 0, 2)


@dataclass(frozen=True)
class PlainOutput:
    """Probabilities [B, C] of whole videos, of each modality; of segments [B, T, 2, C]; features [B, T, 2, D]."""

    video: Tensor
    heard: Tensor
    seen: Tensor
    segments: Tensor
    features: Tensor


class PlainHAN(nn.Module):
    """HAN for one audio and two visual streams."""

    def __init__(
        self,
        num_events: int = 25,
        audio_dim: int = 128,
        image_dim: int = 2048,
        motion_dim: int = 512,
        dim: int = 512,
        feedforward_dim: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.audio, self.image, self.motion = (nn.Linear(size, dim) for size in (audio_dim, image_dim, motion_dim))
        self.fusion = nn.Linear(2 * dim, dim)
        self.layer = PlainLayer(dim, feedforward_dim, dropout)
        self.event_head, self.temporal_head, self.modality_head = (nn.Linear(dim, num_events) for _ in range(3))

    def forward(self, audio: Tensor, image: Tensor, motion: Tensor) -> PlainOutput:
        """Parse videos of [B, T, 128], [B, 8 T, 2048] and [B, T, 512]."""
        heard = self.audio(audio)
        frames = self.image(image).permute(0, 2, 1)  # [B, D, 8 T]
        frames = F.avg_pool1d(frames, ROWS_A_SEGMENT["res152"]).permute(0, 2, 1)
        seen = self.fusion(torch.cat([frames, self.motion(motion)], dim=-1))
        heard, seen = self.layer(heard, seen), self.layer(seen, heard)
        x = torch.stack([heard, seen], dim=2)  # [B, T, 2, D]
        segments = torch.sigmoid(self.event_head(x))
        weighted = torch.softmax(self.temporal_head(x), dim=1) * segments
        video = (weighted * torch.softmax(self.modality_head(x), dim=2)).sum(dim=2).sum(dim=1)
        return PlainOutput(video, weighted[:, :, 0].sum(dim=1), weighted[:, :, 1].sum(dim=1), segments, x)

    def parse(self, sample: Sample) -> PlainOutput:
        """Run on a batch of a loader."""
        output: PlainOutput = self(sample["audio"], sample["image"], sample["motion"])
        return output


# Training


def train_epoch(network: PlainHAN, loader: Iterable[Sample], optimizer: torch.optim.Optimizer) -> list[float]:
    """One epoch; the losses of its steps."""
    network.train()
    criterion = nn.BCELoss()
    losses = []
    for sample in loader:
        target = sample["label"]
        optimizer.zero_grad()
        output = network.parse(sample)
        video, heard, seen = (p.clamp(1e-7, 1 - 1e-7) for p in (output.video, output.heard, output.seen))
        loss = criterion(video, target) + criterion(heard, target) + criterion(seen, 0.9 * target + 0.05)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# Evaluation


@torch.no_grad()
def evaluate(network: PlainHAN, loader: Loader) -> list[tuple[Array, Array]]:
    """What is heard and what is seen in each video of a loader with batch size 1: 0 or 1, each [C, T]."""
    network.eval()
    parsed = []
    for sample in loader:
        output = network.parse(sample)
        occurs = (output.video.numpy() >= 0.5).astype(np.float32)  # [1, C]
        segments = (output.segments[0].numpy() >= 0.5).astype(np.float32)  # [T, 2, C]
        parsed.append(((segments[:, 0] * occurs).T, (segments[:, 1] * occurs).T))
    return parsed


def score(predictions: Sequence[tuple[Array, Array]], truths: Sequence[tuple[Array, Array]]) -> list[float]:
    """The ten scores in percent: audio, visual, audio-visual, type and event, of segments and then of events."""
    scores: list[float] = []
    for count in (count_segments, count_events):
        audio, visual, audio_visual, pooled = [], [], [], []
        for (heard, seen), (true_heard, true_seen) in zip(predictions, truths, strict=True):
            of_audio = count(heard, true_heard)
            of_visual = count(seen, true_seen)
            of_both = count(heard * seen, true_heard * true_seen)
            audio.append(mean_f(*of_audio))
            visual.append(mean_f(*of_visual))
            audio_visual.append(mean_f(*of_both))
            pooled.append(mean_f(*(a + v for a, v in zip(of_audio, of_visual, strict=True))))
        tracks = [100 * float(np.mean(track)) for track in (audio, visual, audio_visual)]
        scores += [*tracks, sum(tracks) / 3, 100 * float(np.mean(pooled))]
    return scores


def count_segments(prediction: Array, truth: Array) -> tuple[Array, Array, Array]:
    """True positives, false positives and misses of each event, in segments."""
    tp = np.sum(prediction * truth, axis=1)
    fp = np.sum(prediction * (1 - truth), axis=1)
    fn = np.sum((1 - prediction) * truth, axis=1)
    return tp, fp, fn


def count_events(prediction: Array, truth: Array) -> tuple[Array, Array, Array]:
    """The same, in runs."""
    tp, fp, fn = (np.zeros(len(truth), dtype=np.float32) for _ in range(3))
    for event in range(len(truth)):
        predicted, true = extract_runs(prediction[event]), extract_runs(truth[event])
        for run in predicted:
            if any(overlap(run, other) for other in true):
                tp[event] += 1
            else:
                fp[event] += 1
        for run in true:
            if not any(overlap(run, other) for other in predicted):
                fn[event] += 1
    return tp, fp, fn


def extract_runs(line: Array) -> list[Array]:
    """Each maximal run of ones as a vector of its own."""
    runs: list[Array] = []
    if np.sum(line) == 0:
        return runs
    position = 0
    while position < len(line):
        if line[position] == 1:
            run = np.zeros_like(line)
            while position < len(line) and line[position] == 1:
                run[position] = 1
                position += 1
            runs.append(run)
        position += 1
    return runs


def overlap(one: Array, other: Array) -> bool:
    """Whether the intersection is at least half of the union."""
    return bool(np.sum(one * other) >= 0.5 * np.sum(one + other - one * other))


def mean_f(tp: Array, fp: Array, fn: Array) -> float:
    """Mean F of the events with any prediction or truth; 1 where there are none."""
    counts = zip(tp.tolist(), fp.tolist(), fn.tolist(), strict=True)
    scores = [2 * p / (2 * p + q + r) for p, q, r in counts if p + q + r != 0]
    return sum(scores) / len(scores) if scores else 1.0


# Pseudo labels from prototypes: no public code has them, this is how it would be written


@torch.no_grad()
def label(
    network: PlainHAN,
    loader: Loader,
    gamma: float,
    beta: float,
    k: int,
    tau: float,
    max_segments: int | None,
) -> Array:
    """Soft labels [N, T, 2, C] of the videos of a loader that does not shuffle (Eqs. 5-8 and 10)."""
    network.eval()
    all_features, all_probs, all_weak = [], [], []
    for sample in loader:
        output = network.parse(sample)
        all_features.append(F.normalize(output.features, dim=-1).numpy())
        all_probs.append(output.segments.numpy())
        all_weak.append(sample["label"].numpy())
    features, probs, weak = (np.concatenate(parts) for parts in (all_features, all_probs, all_weak))
    labels = np.zeros_like(probs)
    for event in range(weak.shape[1]):
        positive, negative = [], []
        for video in range(len(weak)):
            p = probs[video, :, :, event]
            if weak[video, event]:
                positive.append(features[video][p >= gamma * p.max()])
                negative.append(features[video][p <= beta * p.max()])
            elif p.max() >= 0.5:
                negative.append(features[video][p == p.max()])
        if not positive:
            continue
        closer = cluster(np.concatenate(positive), k, max_segments)
        further = cluster(np.concatenate(negative), k, max_segments) if negative else closer[:0]
        for video in np.flatnonzero(weak[:, event]).tolist():
            if len(further):
                towards = np.exp(features[video] @ closer.T / tau).mean(axis=-1)
                away = np.exp(features[video] @ further.T / tau).mean(axis=-1)
                labels[video, :, :, event] = towards / (towards + away)
            else:
                labels[video, :, :, event] = 1
    return labels


def cluster(features: Array, k: int, max_segments: int | None) -> Array:
    """K-means centers of at most ``max_segments`` of the features (None: all); they themselves where they are few."""
    if max_segments is not None and len(features) > max_segments:
        features = features[np.random.default_rng(0).choice(len(features), max_segments, replace=False)]
    if len(features) <= k:
        return features
    kmeans = faiss.Kmeans(
        features.shape[1], k, niter=20, seed=0, min_points_per_centroid=1, max_points_per_centroid=len(features)
    )
    kmeans.train(features)
    assert kmeans.centroids is not None
    return kmeans.centroids
