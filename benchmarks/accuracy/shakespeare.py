"""tinyshakespeare, character by character: nats a character on the last tenth of the text.

Training has nine minutes, so that reading, training and scoring stay within ten; it is stopped by the end of the first
nine tenths.
"""

from __future__ import annotations

from benchmarks.accuracy.row import Outcome, Row, data_file
from cellgate import LanguageModel
from cellgate.data.text import Text, read_text


def _run() -> Outcome:
    path = data_file("tinyshakespeare.txt")
    assert path is not None
    text = read_text(path).text
    cut = int(0.9 * len(text))
    model = LanguageModel(max_seconds=540).fit(Text("the first nine tenths", text[:cut]))
    metrics = model.evaluate(Text("the last tenth", text[cut:]))
    nats = {name: scores["nats per character"] for name, scores in metrics.items() if isinstance(scores, dict)}
    return Outcome(
        {"nats a character": nats.pop("cellgate")},
        {f"nats a character, {name}": value for name, value in nats.items()},
        met=metrics["cellgate"]["nats per character"] <= 1.60,
        details={
            "epochs": model.record_.epochs,
            "units": model.model_.lstm.hidden_size,
            "characters a second": round(model.record_.epochs * model.trained_tokens_ / model.record_.seconds),
            "validation": model.record_.best_score,
        },
    )


ROW = Row("shakespeare", "tinyshakespeare, last 10 %", "1.60 nats a character", 600, _run, ("tinyshakespeare.txt",))
