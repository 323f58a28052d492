"""How an example becomes a network's tensors, and a network's output reflectance again: one feed for each kind of "
"network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..datasets.example import Example
from ..errors import InputError
from ..models.records import RECORDS, Record
from ..models.scaling import UNCRTAINTS, Scaling
from ..observation import Observation

LIKE = {"nir": "nir08", "nir08": "nir"}
"""Bands that stand in for each other."""
SERIES = 10
"""Frames that Clear Vision is padded to."""
PADDED = 255.0
"""Marks padded frames of Clear Vision's target."""
LEAST_RANGE = 1e-6
"""Of reflectance, by which Clear Vision's frames are divided."""

Batch = Mapping[str, Tensor]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.nan_to_num(values), np.float32))


class Feed:
    """Base: one cloudy date, optical and radar side by side (DSen2-CR, GLF-CR, Align-CR).

    Args:
        name: of the network.
        config: its constructor arguments, beside the published ones.
    """

    wants_series = False

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.record: Record = RECORDS[name]
        self.config: dict[str, Any] = {**self.record.config, **config}
        self.scaling: Scaling = self.record.scaling
        self.has_radar = self.record.radar == "required"
        if self.record.module == "dsen2cr":
            self.has_radar = bool(self.config.get("include_sar_input", self.has_radar))
        if self.record.module == "seq2point":
            self.has_radar = bool(self.config.get("include_S1", self.has_radar))

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: the record by name."""
        return {**self.__dict__, "record": self.record.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, record=RECORDS[state["record"]])

    def tensors(self, example: Example) -> dict[str, Tensor]:
        """A sample: what the network sees, the scaled target, the cloud mask, and the truth in reflectance."""
        seen = example.observation
        target = self._chosen(example.target, seen, example.name)
        sample = {
            "optical": _tensor(self.scaling.optical(self._chosen(seen.optical[0], seen, example.name))),
            "target": _tensor(self.scaling.optical(target)),
            "cloud": torch.from_numpy((seen.cloud[:1] >= 0.5).astype(np.float32)),
            "truth": _tensor(target),
        }
        return sample | (
            {"radar": _tensor(self.scaling.radar(self._radar(seen, example.name)[0]))} if self.has_radar else {}
        )

    def dates(self, seen: Observation) -> list[int]:
        """Which of a sample's dates the network sees."""
        return [0]

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """The network's raw output."""
        return network(batch["optical"], batch["radar"]) if self.has_radar else network(batch["optical"])

    def image(self, output: Any) -> Tensor:
        """The restored bands in the target's scale, (B, C, H, W)."""
        return output

    def reflectance(self, output: Any) -> Tensor:
        """The restored bands in reflectance, (B, C, H, W)."""
        return self.image(output) / self.scaling.top

    def from_series(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """A sample of a network that learns from series."""
        raise InputError(f"{self.record.title} does not learn from series.")

    def _chosen(self, planes: np.ndarray, seen: Observation, name: str) -> np.ndarray:
        """The network's bands of (..., C, H, W), in its order."""
        return np.take(planes, self._places(seen.bands, name), axis=-3)

    def _places(self, bands: Sequence[str], name: str) -> list[int]:
        """Where the network's bands are among those of a sample."""
        found = []
        for role in self.record.bands:
            use = role if role in bands else LIKE.get(role, role)
            if use not in bands:
                raise InputError(f"The sample '{name}' lacks the band '{role}' that {self.record.title} needs.")
            found.append(bands.index(use))
        return found

    def _radar(self, seen: Observation, name: str) -> np.ndarray:
        if seen.radar is None or not len(seen.radar):
            raise InputError(
                f"The sample '{name}' has no radar, which {self.record.title} needs; train the variant without."
            )
        return seen.radar


class UncrtaintsFeed(Feed):
    """UnCRtainTS: radar first, everything times ``scale_by``; mean and variance in one output."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self.scaling = UNCRTAINTS.times(float(self.config.get("scale_by", 10.0)))
        self.has_radar = self.config.get("input_dim", 15) == 15
        self.is_mono = bool(self.config.get("is_mono", False))

    def tensors(self, example: Example) -> dict[str, Tensor]:
        """Frames (T, 15, H, W) and, with several dates, their day numbers since 2014-04-03."""
        seen = example.observation
        frames = self.dates(seen)
        optical = self.scaling.optical(self._chosen(seen.optical[frames], seen, example.name))
        parts, days = [optical], np.asarray(seen.days, np.float64)[frames]
        if self.has_radar:
            radar = self._radar(seen, example.name)
            near = [int(np.abs(seen.radar_days - day).argmin()) for day in days]
            parts = [self.scaling.radar(radar[near]), optical]
            days = (days + np.asarray(seen.radar_days)[near]) / 2
        target = self._chosen(example.target, seen, example.name)
        sample = {
            "frames": _tensor(np.concatenate(parts, axis=1)),
            "target": _tensor(self.scaling.optical(target)),
            "truth": _tensor(target),
        }
        start = 0.0 if np.isnan(example.launch_day) else example.launch_day
        return sample if self.is_mono else sample | {"days": torch.from_numpy((days + start).astype(np.float32))}

    def dates(self, seen: Observation) -> list[int]:
        """All that show something, or the first of them."""
        return _input_dates(seen)[:1] if self.is_mono else _input_dates(seen)

    def forward(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, 1, K, H, W): means, then variances."""
        return network(batch["frames"], batch_positions=batch.get("days"))

    def image(self, output: Tensor) -> Tensor:
        """The means."""
        return output[:, 0, : len(self.record.bands)]

    def variance(self, output: Tensor) -> Tensor:
        """(B, 1, 13 or 1, H, W), in scaled units."""
        return output[:, :, len(self.record.bands) :]


class Seq2PointFeed(Feed):
    """Sequence to point: a list of dates, the target date itself unseen; tanh to reflectance x 5."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self.is_baseline = self.record.builder == "BaselineResNet"
        self.wanted = 1 if self.is_baseline else int(self.config.get("n_input_samples", 3))

    def dates(self, seen: Observation) -> list[int]:
        """As many as the network takes, in the order of time."""
        return sorted(_input_dates(seen)[: self.wanted], key=lambda i: seen.days[i])

    def tensors(self, example: Example) -> dict[str, Tensor]:
        """Frames (T, 15, H, W): optical, then radar."""
        seen = example.observation
        order = self.dates(seen)
        if len(order) < self.wanted:
            raise InputError(
                f"The sample '{example.name}' has {len(order)} input dates; {self.record.title} needs {self.wanted}."
            )
        stack = self.scaling.optical(self._chosen(seen.optical[order], seen, example.name))
        if self.has_radar:
            radar = self._radar(seen, example.name)
            near = [int(np.abs(seen.radar_days - seen.days[i]).argmin()) for i in order]
            stack = np.concatenate((stack, self.scaling.radar(radar[near])), axis=1)
        target = self._chosen(example.target, seen, example.name)
        return {
            "frames": _tensor(stack),
            "target": _tensor(self.scaling.optical(target)),
            "truth": _tensor(target),
        }

    def forward(self, network: nn.Module, batch: Batch) -> Tensor:
        """tanh in -1..1, or the baseline's linear output."""
        return network(batch["frames"][:, 0]) if self.is_baseline else network(list(batch["frames"].unbind(1)))

    def image(self, output: Tensor) -> Tensor:
        """Reflectance x 5."""
        from ..models.seq2point import image

        return output if self.is_baseline else image(output)


class SeriesFeed(Feed):
    """U-TILISE and Clear Vision: every frame of a series is rebuilt."""

    wants_series = True

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self.is_utilise = self.record.module == "utilise"

    def from_series(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Of the data set's sample the bands of the network; Clear Vision's series are padded to ten frames."""
        places = self._places(sample["bands"], sample["name"])
        x, y = sample["x"][:, places], sample["y"][:, places]
        if self.has_radar:
            if "radar" not in sample:
                raise InputError(
                    f"The series '{sample['name']}' has no radar, which {self.record.title} needs; train the variant "
                    "without."
                )
            x = torch.cat((x, _tensor(self.scaling.radar(sample["radar"].numpy()))), dim=1)
        names = ("masks", "masks_valid_obs", "cloud_mask", "position_days")
        chosen = {"x": x, "y": y, **{name: sample[name] for name in names}}
        return chosen if self.is_utilise else {key: _padded(value) for key, value in chosen.items()}

    def forward(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, T, C, H, W)."""
        if self.is_utilise:
            return network(batch["x"], batch["position_days"])
        return network(batch["x"].transpose(1, 2))[1].transpose(1, 2)

    def image(self, output: Tensor) -> Tensor:
        """The frames as they are."""
        return output


def _padded(values: Tensor) -> Tensor:
    """Zero frames up to ten; longer series are cut."""
    values = values[:SERIES]
    return torch.cat((values, values.new_zeros((SERIES - len(values), *values.shape[1:]))))


class MaskFeed(Feed):
    """Clear Vision's mask network: one frame to two classes.

    As its authors read frames (https://github.com/caoymg/Clear-Vision): missing pixels are white, and all is divided by
    the range of the whole series (of the image, where it stands alone). The detector of that name does the same.
    """

    def tensors(self, example: Example) -> dict[str, Tensor]:
        """The cloudy frame and its mask."""
        seen = example.observation
        optical = self._chosen(seen.optical[0], seen, example.name)
        mask = torch.from_numpy((seen.cloud[0] >= 0.5).astype(np.int64))
        whole = optical if example.series is None else self._chosen(example.series, seen, example.name)
        known = np.clip(whole[np.isfinite(whole)], 0, 1)
        if not known.size:
            raise InputError(
                f"The sample '{example.name}' shows nothing of its own date, so no clouds can be found on it. Choose "
                "data with cloudy images."
            )
        white = np.where(np.isfinite(optical), np.clip(optical, 0, 1), np.float32(1))
        return {"optical": _tensor(white / max(float(known.max() - known.min()), LEAST_RANGE)), "mask": mask}

    def forward(self, network: nn.Module, batch: Batch) -> Tensor:
        """Logits (B, 2, H, W)."""
        return network(batch["optical"])[1]


class TuacrFeed(Feed):
    """The ensemble head: predictions of DSen2-CR and GLF-CR, radar and the cloudy image."""

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """The head's five outputs; ``dsen2`` and ``glf`` are put into the batch by the task."""
        return network(batch["dsen2"], batch["glf"], batch["radar"], batch["optical"])

    def image(self, output: Any) -> Tensor:
        """All 13 bands: the first stage's, with red, green and blue of the final image, which has no others."""
        return torch.cat((output.stage1[:, :1], output.out, output.stage1[:, 4:]), dim=1)


def _input_dates(seen: Observation) -> list[int]:
    """Dates that show something; where the target date itself is seen, it is the first."""
    return [i for i in range(len(seen.optical)) if np.isfinite(seen.optical[i]).any()]


_FEEDS = {
    "uncrtaints": UncrtaintsFeed,
    "seq2point": Seq2PointFeed,
    "utilise": SeriesFeed,
    "clearvision_removal": SeriesFeed,
    "clearvision_mask": MaskFeed,
    "tuacr": TuacrFeed,
}


def feed_of(name: str, config: Mapping[str, Any]) -> Feed:
    """The feed of a network of the registry."""
    return _FEEDS.get(RECORDS[name].module, Feed)(name, config)
