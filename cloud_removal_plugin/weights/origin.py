"""Where stored weights come from, in words: imported, or trained here: on what, how well, on what terms."""

from __future__ import annotations

from .stored import Stored

TERMS = {
    "sen12mscr": "SEN12MS-CR is CC BY 4.0",
    "sen12mscrts": "SEN12MS-CR-TS is CC BY 4.0",
    "sen12mscrts_hdf5": "SEN12MS-CR-TS is CC BY 4.0",
    "m3rcr": "M3R-CR is for academic use only",
    "earthnet2021": "EarthNet2021 is CC BY-NC-SA 4.0",
    "earthnet2021x": "EarthNet2021x is CC BY-NC-SA 4.0",
}
"""What the publishers of a data set ask of those who use it, by the name of its reader."""

_FIGURES = (("psnr", "PSNR {} dB"), ("mae", "MAE {}"), ("rmse", "RMSE {}"), ("f1", "F1 {}"))


def trained(stored: Stored) -> bool:
    """Whether the file has the record of a training with this plugin (``training/record.py`` writes it)."""
    return bool(stored.facts.get("trained_with"))


def origin(stored: Stored) -> str:
    """Where the weights come from, in one phrase."""
    facts = stored.facts
    if not trained(stored):
        return f"imported from {stored.source}"
    base = f", begun with {facts['tuned_from']}" if facts.get("tuned_from") else ""
    return (
        f"trained here: recipe {facts['trained_with']}{base}, {facts.get('steps', '?')} steps on "
        f"{facts.get('samples', '?')} samples of {facts.get('data', 'unknown data')} ({facts.get('reader', '?')})"
    )


def held_out(stored: Stored) -> str:
    """Figures of trained weights on samples that were kept out of their training; MAE and RMSE in reflectance."""
    facts = stored.facts
    found = _figures(facts, "held_out")
    if not found:
        return "none: the training was not judged on held-out samples"
    before = _figures(facts, "before")
    return (
        f"{found} (its own, on {facts.get('held_out_samples', '?')} samples kept out of the training, at step "
        f"{facts.get('held_out_step', '?')}" + (f"; before the fine-tuning {before}" if before else "") + ")"
    )


def terms(stored: Stored) -> str:
    """What trained weights may be used for, as far as their record tells."""
    facts = stored.facts
    data = TERMS.get(facts.get("reader", ""), "mind the licence of the data")
    if facts.get("tuned_from"):
        return f"trained here, begun with {facts['tuned_from']}, whose licence still holds; {data}"
    return f"trained here, so the published one does not apply; {data}"


def _figures(facts: dict[str, str], prefix: str) -> str:
    said = []
    for name, text in _FIGURES:
        try:
            said.append(text.format(f"{float(facts[f'{prefix}_{name}']):.4g}"))
        except (KeyError, ValueError):
            continue
    return ", ".join(said)
