"""English words to phonemes: two streams over one file of weights, python g2p.py checkpoint20.npz hyundai raspberry.

The weights are those of the package g2p-en 2.1.0 (Apache-2.0).
"""

import sys
from pathlib import Path

import numpy as np

import lstm_edge
from lstm_edge.decoding import Decoder, greedy

HERE = Path(__file__).parent
LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
PHONEMES = """<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0
    EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH
    UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH""".split()
LONGEST = 20


class G2P:
    def __init__(self, weights: str):
        self.encoder, self.decoder = (
            lstm_edge.convert(weights, network=HERE / f"{part}.toml") for part in ("encoder", "decoder")
        )

    def __call__(self, word: str) -> str:
        """The likeliest phoneme each time, until the end."""
        letters = [LETTERS.index(c) if c in LETTERS else 1 for c in word] + [LETTERS.index("</s>")]
        decoder = Decoder(self.decoder, {"gru.h": self.encoder.run(np.array([letters], np.int32))})
        said = greedy(decoder, PHONEMES.index("<s>"), PHONEMES.index("</s>"), LONGEST)
        return " ".join(PHONEMES[n] for n in said.numbers)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    g2p = G2P(sys.argv[1])
    for word in sys.argv[2:]:
        print(f"{word}: {g2p(word)}")
